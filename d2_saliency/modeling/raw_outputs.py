"""
Raw outputs of a detector, before its score threshold and NMS, and how similar each is to a given
object.
"""

from typing import NamedTuple, Tuple

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor
from torch.nn import functional as F

# Shape shorthand: N target objects, R raw outputs of one image, K foreground classes, V entries of
# a class vector.


class RawOutputs(NamedTuple):
    """
    All outputs of a detector for one image, before its score threshold and NMS.

    Attributes:
        boxes: (R, K, 4), or (R, 1, 4) where all classes share a box; pixels of the network input,
            clipped to it.
        vectors: (R, V), the class-probability vectors: K foreground classes, then the background if
            the model has one.
        objectness: (R,), in [0, 1]; ones where the model has none.
    """

    boxes: Tensor
    vectors: Tensor
    objectness: Tensor

    def boxes_of(self, class_id: int) -> Tensor:
        """The box (R, 4) that each output gives to a class."""
        return self.boxes[:, class_id if self.boxes.shape[1] > 1 else 0]


def clipped(boxes: Tensor, image_size: Tuple[int, int]) -> Tensor:
    """Boxes (..., 4) clipped to an image of (height, width)."""
    height, width = image_size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def raw_outputs_of_instances(instances: Instances) -> RawOutputs:
    """
    Make raw outputs for a model that only returns ``Instances``: the class vector has the score at
    the class and is 0 elsewhere.
    """
    boxes = instances.pred_boxes.tensor
    return RawOutputs(boxes[:, None], one_class_vectors(instances), instances.scores)


def one_class_vectors(instances: Instances) -> Tensor:
    """(N, V) with the score at the predicted class; V is as large as the largest class needs."""
    classes = instances.pred_classes
    vectors = F.one_hot(classes, int(classes.max()) + 1 if len(classes) else 1)
    return vectors * instances.scores[:, None]


def target_iou(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    IoU (N, R) of target objects (``pred_boxes``, ``pred_classes``) with the box each output gives
    to their class.
    """
    iou = raw.boxes.new_zeros(len(targets), len(raw.boxes))
    for class_id in targets.pred_classes.unique().tolist():
        same = targets.pred_classes == class_id
        iou[same] = pairwise_iou(targets.pred_boxes[same], Boxes(raw.boxes_of(class_id)))
    return iou


def class_similarity(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    Cosine (N, R) of the target objects' ``class_vectors`` (N, V) with those of all outputs; 0 for a
    zero vector.
    """
    size = max(targets.class_vectors.shape[1], raw.vectors.shape[1])
    # One of them may be in half precision.
    both = (v.float() for v in (targets.class_vectors, raw.vectors))
    ours, theirs = (F.normalize(F.pad(v, (0, size - v.shape[1])), dim=1) for v in both)
    return ours @ theirs.T


def detection_similarity(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    Measure how much each output speaks of each target object: ``s = IoU * cos(P_t, P_j) *
    objectness`` (D-RISE, Eq. 1 to 5).

    Args:
        targets: N objects with ``pred_boxes`` in pixels of the network input, ``pred_classes`` and
            ``class_vectors`` (N, V).
        raw: R outputs of one image.

    Returns:
        Tensor: (N, R), in [0, 1].
    """
    return target_iou(targets, raw) * class_similarity(targets, raw) * raw.objectness


def class_probability(targets: Instances, raw: RawOutputs) -> Tensor:
    """Probability (N, R) that each output gives to each target's class."""
    size = max(int(targets.pred_classes.max()) + 1 if len(targets) else 1, raw.vectors.shape[1])
    return F.pad(raw.vectors, (0, size - raw.vectors.shape[1]))[:, targets.pred_classes].T


def best(values: Tensor) -> Tensor:
    """The largest of R values per target (N, R) -> (N,); 0 where there is no output at all."""
    return values.amax(dim=1) if values.shape[1] else torch.zeros(len(values), device=values.device)
