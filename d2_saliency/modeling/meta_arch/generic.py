"""
Architectures that d2_saliency has never heard of, explained through the ``Instances`` they return.
"""

import copy
from dataclasses import replace
from typing import Any, Dict, List, Optional, Tuple

import torch
from detectron2.structures import Instances
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
from .model_outputs import checked_results, in_input_pixels

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
        vars(explaining).update(_held=model, _arguments=((), {}), saliency_head=None)
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

    def forward(self, batched_inputs: List[Dict], *args, **kwargs):
        """
        See :meth:`SaliencyMixin.forward`.

        Further arguments are the model's own: each of its runs gets them.
        """
        if self.training or self.saliency_head is None:
            return self._held.forward(batched_inputs, *args, **kwargs)
        if not args and not kwargs:
            return super().forward(batched_inputs)
        this_call = copy.copy(self)
        vars(this_call)["_arguments"] = args, kwargs
        return SaliencyMixin.forward(this_call, batched_inputs)

    def run(
        self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None
    ) -> ForwardPass:
        # Detectron2 0.6 copies the images of a batch into views of one tensor, which autograd
        # refuses; so may any model.
        batches = [[x] for x in batched_inputs] if torch.is_grad_enabled() else [batched_inputs]
        results = [r for batch in batches for r in self._results(batch)]
        found = [
            in_input_pixels(r["instances"], x["image"].shape[-2:])
            for r, x in zip(results, batched_inputs)
        ]
        if instances is not None:
            name = type(self._held).__name__
            found = [_pick(now, before, name) for now, before in zip(found, instances)]
        return ForwardPass(
            [x["image"] for x in batched_inputs], {}, _padded_size(found), found, results
        )

    def _results(self, batched_inputs: List[Dict]) -> List[Dict]:
        args, kwargs = self._arguments
        name = type(self._held).__name__
        try:
            results = self._held.forward(batched_inputs, *args, **kwargs)
        except RuntimeError as e:
            if "modified inplace" not in str(e):
                raise
            raise RuntimeError(
                f"{name} writes into a view of a tensor, which autograd refuses; padding of images "
                "often does (ImageList of Detectron2 0.6, nested_tensor of DETR). Pad with "
                "torch.nn.functional.pad instead of pad_img[...].copy_(img), or use "
                f"{' or '.join(black_box_methods())}. ({str(e).split('.')[0]})"
            ) from e
        return checked_results(results, batched_inputs, name)

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


def _padded_size(instances: List[Instances]) -> Tuple[int, int]:
    """Take the largest image's size: the padding of an unknown model is not known."""
    heights, widths = zip(*(i.image_size for i in instances))
    return max(heights), max(widths)


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
