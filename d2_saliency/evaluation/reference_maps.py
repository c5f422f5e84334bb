"""
Reference maps, whose worth is known before they are measured. They show what a metric is worth.
"""

from typing import Dict, Optional

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..data import edge_strips
from ..modeling.detector import Detector
from ..modeling.fields import Fields
from ..modeling.forward_pass import ForwardPass
from ..modeling.saliency_heads.head import SaliencyHead
from ..structures import OUTPUTS, SaliencyMaps
from .annotations import decode_mask, objects_of
from .ground_truth import Truth, match_to_truth

# A score also depends on the object and on its edges. So the emblem's pixels come first, then those
# of the object, then those of its edges. In a sum they are nothing beside the emblem.
OBJECT, EDGES = 1e-3, 1e-4


class TrueCause(SaliencyHead):
    """
    The true causes on planted-cause scenes: the emblem for the class, after it the object and its
    edges; each edge's strip for its coordinate. A detection that is of no object has constant maps.

    The input needs "annotations", "height" and "width" of the data set's dict.
    """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        found = clean.instances[0]
        height, width = batched_input["height"], batched_input["width"]
        scale = found.pred_boxes.tensor.new_tensor(
            [width / found.image_size[1], height / found.image_size[0]] * 2
        )
        original = Instances(
            (height, width),
            pred_boxes=Boxes(found.pred_boxes.tensor * scale),
            pred_classes=found.pred_classes,
        )
        truth = match_to_truth(original, objects_of(batched_input), iou_thresh=0.5)
        maps = torch.stack([self.reference(t, height, width, i) for i, t in enumerate(truth)])
        return {
            "pred_saliency": SaliencyMaps.full_image(maps.to(found.scores.device), found.image_size)
        }

    def reference(self, truth: Optional[Truth], height: int, width: int, index: int) -> Tensor:
        """Five maps (5, H, W) in [0, 1] of the detection ``index``."""
        if truth is None:
            return torch.ones(len(OUTPUTS), height, width)
        if "emblem" not in truth.annotation:
            raise ValueError(
                f"{type(self).__name__} needs scenes with known causes, such as planted_val."
            )
        emblem = torch.from_numpy(decode_mask(truth.annotation["emblem"], height, width)).float()
        strips = torch.from_numpy(edge_strips(truth.box, height, width)).float()
        cause = torch.stack(
            [emblem, OBJECT * torch.from_numpy(truth.mask).float(), EDGES * strips.amax(0)]
        ).amax(0)
        return torch.cat([cause[None], strips])


class InvertedCause(TrueCause):
    """One minus :class:`TrueCause`: everything but the cause, with the farthest from it first."""

    def reference(self, truth: Optional[Truth], height: int, width: int, index: int) -> Tensor:
        return (
            1 - super().reference(truth, height, width, index)
            if truth
            else torch.ones(len(OUTPUTS), height, width)
        )


class Random(TrueCause):
    """Uniform noise of the method's seed, another for each detection."""

    def reference(self, truth: Optional[Truth], height: int, width: int, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + index)
        return torch.rand(len(OUTPUTS), height, width, generator=generator)


REFERENCES = {head.__name__: head for head in (TrueCause, InvertedCause, Random)}
