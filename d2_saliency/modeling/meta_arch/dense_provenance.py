"""Traces the detections of a dense detector to the anchors that they were computed from."""

from typing import List

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

PROVENANCE = ("level", "anchor_index", "anchor_boxes")
"""Fields of a traced detection: see :class:`SaliencyDenseMixin`."""


def trace(instances: Instances, distances: List[Tensor], anchors: List[Boxes]) -> bool:
    """
    Set the fields of :data:`PROVENANCE`: the anchor with the smallest distance.

    Args:
        instances: N detections; they get the fields.
        distances: for each level, from :func:`distance_to_outputs`, (N, R_l).
        anchors: of each level.

    Returns:
        bool: whether each detection has an anchor that could be its source.
    """
    nearest = [d.min(dim=1) for d in distances]
    distance, instances.level = torch.stack([n.values for n in nearest]).min(dim=0)
    index = torch.stack([n.indices for n in nearest])
    instances.anchor_index = index.gather(0, instances.level[None])[0]
    first = torch.tensor([0, *(len(a) for a in anchors)], device=index.device).cumsum(0)
    instances.anchor_boxes = Boxes.cat(anchors)[first[instances.level] + instances.anchor_index]
    return not bool(distance.isinf().any())


def distance_to_outputs(instances: Instances, scores: Tensor, boxes: Tensor) -> Tensor:
    """
    Measure how far each of N detections is from the output of each of R anchors, to find the anchor
    it came from.

    Detections are copies of anchors' outputs, so one distance is 0, or as small as rounding;
    anchors with another score for the detection's class are out of the question.

    Returns:
        Tensor: (N, R), in pixels; inf where the scores differ.
    """
    same_score = (scores.T[instances.pred_classes] - instances.scores[:, None]).abs() < 1e-6
    distance = torch.cdist(instances.pred_boxes.tensor, boxes, p=1)
    return distance.masked_fill(~same_score, float("inf"))
