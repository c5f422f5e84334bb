"""The contract of a saliency head."""

import copy
import logging
from abc import abstractmethod
from typing import Dict, Sequence, Tuple

import torch
from detectron2.config import configurable
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...keys import check_values
from ...structures import MASK_OUTPUTS, SaliencyMaps
from ..detector import Detector
from ..fields import Fields
from ..folding import folded
from ..forward_pass import ForwardPass

logger = logging.getLogger(__name__)


class SaliencyHead(nn.Module):
    """
    Turns the detections of one image into five saliency maps each.

    A subclass implements :meth:`explain`. It asks the detector through ``run``, ``input_gradients``
    and ``feature_gradients`` (see :class:`SaliencyMixin`) and keeps no state between calls.
    """

    black_box = False
    """Whether the method needs nothing but the detector's outputs."""

    num_samples = 0
    """Noise passes of the method."""

    @configurable
    def __init__(
        self,
        *,
        class_target: str = "score",
        target_class: int = -1,
        score_thresh: float = 0.5,
        max_instances: int = 20,
        classes: Sequence[int] = (),
        seed: int = 0,
        mask_output: bool = False,
        fold_norms: bool = True,
        skip_zeros: bool = True,
    ):
        """
        Args:
            class_target: target of the class map, one of :func:`instance_targets`.
            target_class: index of the class to explain; -1: the predicted one of each detection.
            score_thresh: detections with a score above this are explained.
            max_instances: at most this many of them, best scores first; 0: all.
            classes: numbers of the classes whose detections are explained; empty: all.
            seed: decides everything random in the method.
            mask_output: also explain the mask of each detection of a Mask R-CNN: the field
                ``pred_mask_saliency``, with a map of the mean mask logit inside of the predicted
                mask. Doubles the work.
            fold_norms: run passes by the dozen on a :func:`folded` copy of the detector.
            skip_zeros: propagate gradients to pixels with :func:`skipping_zeros`.
        """
        check_values("MODEL.SALIENCY_HEAD", locals())
        super().__init__()
        self.class_target = class_target
        self.target_class = target_class
        self.score_thresh = score_thresh
        self.max_instances = max_instances
        self.classes = classes
        self.seed = seed
        self.mask_output = mask_output
        self.fold_norms = fold_norms
        self.skip_zeros = skip_zeros

    @classmethod
    def from_config(cls, cfg):
        head = cfg.MODEL.SALIENCY_HEAD
        return {
            "class_target": head.CLASS_TARGET,
            "target_class": head.TARGET_CLASS,
            "score_thresh": head.SCORE_THRESH,
            "max_instances": head.MAX_INSTANCES,
            "classes": head.CLASSES,
            "seed": head.SEED,
            "mask_output": head.MASK_OUTPUT,
            "fold_norms": head.FOLD_NORMS,
            "skip_zeros": head.SKIP_ZEROS,
        }

    @abstractmethod
    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        """
        Args:
            detector: the :class:`SaliencyMixin` that found the detections.
            batched_input: the image, as for the detector's forward.
            clean: the detector's :class:`ForwardPass` on that image, without gradients;
                ``clean.instances[0]`` are the N > 0 detections to explain.

        Returns:
            dict: "pred_saliency", the :class:`SaliencyMaps` of the detections, and other fields of
            length N for ``Instances``, integers or floats >= 0.
        """

    def select(self, instances: Instances) -> Tensor:
        """
        Indices of the detections to explain, best scores first. Nobody sees boxes outside of the
        image.
        """
        finite = instances.pred_boxes.tensor.isfinite().all(dim=1) & instances.scores.isfinite()
        boxes = Boxes(instances.pred_boxes.tensor.where(finite[:, None], 0.0))
        boxes.clip(instances.image_size)
        eligible = (instances.scores > self.score_thresh) & boxes.nonempty()
        if self.classes:
            wanted = torch.tensor(self.classes, device=instances.pred_classes.device)
            eligible &= torch.isin(instances.pred_classes, wanted)
        order = instances.scores.argsort(descending=True, stable=True)
        order = order[eligible[order]]
        return order[: self.max_instances] if self.max_instances > 0 else order

    def runner(self, detector: Detector, batched_input: Dict) -> Detector:
        """
        Return the model that runs passes over an image: the same function as the detector, perhaps
        in less time.
        """
        return folded(detector, batched_input) if self.fold_norms else detector

    def forward(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        """
        :meth:`explain` for any number of detections, with its result checked.

        Where a gradient overflowed (half precision does so above 65504), cells of a map are not
        finite: they are set to 0, and the field "num_overflowed" (N, 5) counts them. Where a score
        rounds to 1 and its log-odds are not known, the class map is wrong, and "rounded_score" (N,)
        is 1. There are no such fields where all is well.
        """
        instances = clean.instances[0]
        if not len(instances):
            return self._no_maps(instances.image_size, clean.images[0].device)
        if self.target_class >= 0 and not instances.has("target_classes"):
            instances.target_classes = torch.full_like(instances.pred_classes, self.target_class)
        fields: Fields = {}
        if self.mask_output:  # comes first: a model without masks is refused before the work
            fields["pred_mask_saliency"] = self._mask_maps(detector, batched_input, clean)
        fields.update(self.explain(detector, batched_input, clean))
        for maps in (value for value in fields.values() if isinstance(value, SaliencyMaps)):
            if len(maps) != len(instances):
                raise ValueError(
                    f"{type(self).__name__} made {len(maps)} maps for {len(instances)} detections."
                )
            maps.maps = [m.detach().float() for m in maps.maps]
        overflowed = torch.stack(
            [(~m.isfinite()).sum((-2, -1)) for m in fields["pred_saliency"].maps]
        )
        if overflowed.any():
            fields["num_overflowed"] = overflowed
        rounded = instances.scores == 1
        if rounded.any() and not (detector.knows_log_odds or self.black_box):
            fields["rounded_score"] = rounded.long()
        for maps in (value for value in fields.values() if isinstance(value, SaliencyMaps)):
            maps.maps = [self._checked(m, i) for i, m in enumerate(maps.maps)]
        return fields

    def _no_maps(self, image_size: Tuple[int, int], device: torch.device) -> Fields:
        fields: Fields = {"pred_saliency": SaliencyMaps.unexplained(0, image_size, device)}
        if self.mask_output:
            fields["pred_mask_saliency"] = SaliencyMaps.unexplained(
                0, image_size, device, MASK_OUTPUTS
            )
        return fields

    def _mask_maps(
        self, detector: Detector, batched_input: Dict, clean: ForwardPass
    ) -> SaliencyMaps:
        """The same method with the mask in place of the class; of its five maps, the first."""
        if self.black_box:
            raise ValueError(
                "MODEL.SALIENCY_HEAD.MASK_OUTPUT needs a method that differentiates, which "
                f"{type(self).__name__} does not; choose another NAME, such as ODSmoothGrad or "
                "ODAM, or leave it at False."
            )
        of_mask = copy.copy(self)
        of_mask.class_target = "mask"
        five = of_mask.explain(detector, batched_input, clean)["pred_saliency"]
        return SaliencyMaps([m[:1] for m in five.maps], five.regions, five.image_size, MASK_OUTPUTS)

    def _checked(self, m: Tensor, index: int) -> Tensor:
        if m.numel() and m.amin() < 0:
            raise ValueError(f"{type(self).__name__} made a map with negative values.")
        if m.isfinite().all():
            return m
        logger.warning(
            f"{type(self).__name__}: the maps of detection {index} are not finite; such pixels are "
            "set to 0."
        )
        return m.nan_to_num(nan=0.0, posinf=0.0)
