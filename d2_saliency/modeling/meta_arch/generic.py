"""
Architectures that d2_saliency has never heard of, explained through the ``Instances`` they return.
"""

from dataclasses import replace
from typing import Any, Dict, List, Optional, Tuple

import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from ..forward_pass import ForwardPass
from ..matching import match_repeated
from ..raw_outputs import (
    RawOutputs,
    best,
    class_probability,
    one_class_vectors,
    raw_outputs_of_instances,
    target_iou,
)
from ..saliency_heads.build import black_box_methods
from .base import SaliencyMixin

FIELDS = ("pred_boxes", "scores", "pred_classes")

MODULE_STATE = vars(nn.Module()).keys() - {"training"}
"""Where ``nn.Module`` keeps layers, tensors and hooks: the explaining model shares these."""

OURS = {"saliency_head", *dir(SaliencyMixin)} - set(dir(nn.Module))
"""Names that are set on the explaining model, not on the model that it holds."""


class SaliencyGenericMixin(SaliencyMixin):
    """
    Explains any model whose eval-mode ``forward`` takes Detectron2's input dicts and returns
    ``Instances`` with ``pred_boxes``, ``scores`` and ``pred_classes``.

    Gradient methods differentiate ``scores`` and ``pred_boxes`` as they come out of the model. What
    the model did to them counts: a coordinate that it clipped to the image has a gradient of zero,
    and CLASS_TARGET "contrast" and TARGET_CLASS are not available since the scores of other classes
    are not revealed. A score that rounds to 1 has lost its gradient, in part or all; the field
    ``rounded_score`` (N,) is 1 there.

    There is no provenance. Detections are found again in another run on the same image by class,
    box and score (:func:`match_repeated`); a model that does not repeat them is refused.
    """

    knows_provenance = False
    knows_log_odds = False

    @classmethod
    def around(cls, model: nn.Module) -> "SaliencyGenericMixin":
        """
        An explaining model that holds a model of the class that follows this mixin.

        Layers, tensors, hooks and attributes are those of ``model``, whose own code runs on
        ``model`` itself. So names of ours, such as ``run``, hide none of its methods and
        attributes from it.
        """
        explaining = object.__new__(cls)
        vars(explaining).update({k: v for k, v in vars(model).items() if k in MODULE_STATE})
        vars(explaining).update(_held=model, saliency_head=None)
        return explaining

    def __getattr__(self, name: str) -> Any:
        held = vars(self).get("_held")
        if held is None:  # while it is being copied
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        return getattr(held, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OURS:
            vars(self)[name] = value
        else:
            setattr(self._held, name, value)

    def forward(self, batched_inputs: List[Dict]):
        """See :meth:`SaliencyMixin.forward`."""
        if self.training or self.saliency_head is None:
            return self._held.forward(batched_inputs)
        return super().forward(batched_inputs)

    def run(
        self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None
    ) -> ForwardPass:
        results = _checked(self._held.forward(batched_inputs), batched_inputs, type(self).__name__)
        found = [
            _in_input_pixels(r["instances"], x["image"].shape[-2:])
            for r, x in zip(results, batched_inputs)
        ]
        if instances is not None:
            name = type(self).__name__
            found = [_pick(now, before, name) for now, before in zip(found, instances)]
        return ForwardPass(
            [x["image"] for x in batched_inputs], {}, _padded_size(found), found, results
        )

    def outputs(self, forward_pass: ForwardPass) -> List[Instances]:
        found = forward_pass.instances
        return [
            Instances(i.image_size, **i.get_fields(), class_vectors=one_class_vectors(i))
            for i in found
        ]

    def raw_outputs(self, batched_inputs: List[Dict]) -> List[RawOutputs]:
        """
        The detections themselves, score threshold and NMS included: more is not known of such a
        model.
        """
        with torch.no_grad():
            return [raw_outputs_of_instances(i) for i in self.run(batched_inputs).instances]

    def locate(self, batched_inputs: List[Dict], objects: List[Instances]) -> ForwardPass:
        """
        The score is the best of the class among the model's outputs with an IoU above 0.5; 0 if
        there is none.
        """
        located = self.run(batched_inputs)
        given = []
        for found, of_image in zip(objects, located.instances):
            raw = raw_outputs_of_instances(of_image)
            probability = class_probability(found, raw) * (target_iou(found, raw) > 0.5)
            given.append(
                Instances(found.image_size, **{**found.get_fields(), "scores": best(probability)})
            )
        return replace(located, instances=given)

    def postprocess(
        self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]
    ) -> List[Dict]:
        results = clean.results or []
        for result, extra in zip(results, fields):
            for name, value in extra.items():
                result["instances"].set(name, value)
        return results


def _checked(results: Any, batched_inputs: List[Dict], model: str) -> List[Dict]:
    """What a model returned for some images, if it can be understood."""
    num_images = len(batched_inputs)
    if not isinstance(results, (list, tuple)) or len(results) != num_images:
        shown = (
            f"{len(results)} results"
            if isinstance(results, (list, tuple))
            else type(results).__name__
        )
        raise ValueError(
            f"{model} returned {shown} for {num_images} images; a list with a dict for each is "
            "needed."
        )
    for x, result in zip(batched_inputs, results):
        instances: Any = result.get("instances") if isinstance(result, dict) else None
        missing = ["instances"]
        if isinstance(instances, Instances):
            missing = [name for name in FIELDS if not instances.has(name)]
        if missing:
            needed = ", ".join(FIELDS)
            raise ValueError(
                f"{model} returned no {', '.join(missing)}; Instances with {needed} are needed."
            )
        boxes = instances.pred_boxes
        if boxes.tensor.shape[1] != 4:
            raise ValueError(
                f"{model} returned {type(boxes).__name__}; only upright boxes can be explained."
            )
        size = tuple(instances.image_size)
        asked = x.get("height", size[0]), x.get("width", size[1])
        if size != asked:
            raise ValueError(
                f"{model} returned detections in an image of {size} pixels, but its input's "
                "'height' and 'width' ask "
                f"for {asked}; scale them with detectron2.modeling.detector_postprocess(instances, "
                "height, width)."
            )
    return list(results)


def _padded_size(instances: List[Instances]) -> Tuple[int, int]:
    """What an unknown model pads to is not known: the size of the largest image stands for it."""
    heights, widths = zip(*(i.image_size for i in instances))
    return max(heights), max(widths)


def _in_input_pixels(result: Instances, image_size) -> Instances:
    """
    The three fields that every detector has, with boxes scaled from the output's size to the
    network input's.
    """
    height, width = int(image_size[0]), int(image_size[1])
    boxes = result.pred_boxes.tensor
    scale = boxes.new_tensor([width / result.image_size[1], height / result.image_size[0]] * 2)
    return Instances(
        (height, width),
        pred_boxes=Boxes((boxes * scale).detach()),
        scores=result.scores,
        pred_classes=result.pred_classes,
        raw_boxes=boxes * scale,
    )


def _pick(now: Instances, before: Instances, model: str) -> Instances:
    """The same detections in another run on the same image; their order may have changed."""
    index, partner = match_repeated(before, now)
    if len(index) < len(before):
        raise RuntimeError(
            f"{model}: {len(before) - len(index)} of {len(before)} detections were not found again "
            "when the model ran on the same image once more (same class, IoU above 0.7, scores "
            "within 0.05). It is not deterministic, so its gradients cannot be assigned to "
            f"detections; use {' or '.join(black_box_methods())}."
        )
    picked = now[partner]
    if before.has("target_classes"):
        picked.target_classes = before.target_classes
    return picked
