"""Finds detections again: it matches those of a noisy image with those of the clean one."""

from typing import Tuple

import torch
from detectron2.structures import Instances, pairwise_iou
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match_instances(
    reference: Instances, candidates: Instances, iou_thresh: float = 0.7
) -> Tuple[Tensor, Tensor]:
    """
    One-to-one matching of detections by class and overlap (ODSmoothGrad, section 3).

    A pair may match if both have the same class and their IoU is strictly above ``iou_thresh``;
    among all one-to-one matchings of such pairs, the one with the largest total IoU is taken.

    Args:
        reference: N detections with ``pred_boxes`` and ``pred_classes``.
        candidates: M detections with the same fields, boxes in the same coordinates.
        iou_thresh: smallest IoU of a match, in [0, 1].

    Returns:
        tuple[Tensor, Tensor]: indices into ``reference`` (increasing) and into ``candidates``, both
        of shape (P,).
    """
    similarity = _iou(reference, candidates)
    return _pairs(torch.where(similarity > iou_thresh, similarity, 0.0), reference)


def match_repeated(
    reference: Instances, candidates: Instances, iou_thresh: float = 0.7, score_tol: float = 0.05
) -> Tuple[Tensor, Tensor]:
    """
    One-to-one matching of detections with those of another run on the same image.

    Unlike :func:`match_instances` it also compares scores, so that equal boxes of one class, which
    a detector without NMS may output, are told apart. Among all one-to-one matchings of pairs of
    the same class, with an IoU above ``iou_thresh`` and scores that differ by at most
    ``score_tol``, the one with the largest sum of IoUs minus differences of scores is taken. The
    IoU of equal boxes counts as 1, also where they have no area.

    Args and returns: as for :func:`match_instances`; both sides also have ``scores``.
    """
    boxes, others = (i.pred_boxes.tensor.detach().cpu() for i in (reference, candidates))
    equal = (boxes[:, None] == others[None]).all(dim=2) & _same_class(reference, candidates)
    iou = torch.where(equal, 1.0, _iou(reference, candidates))
    change = (reference.scores[:, None] - candidates.scores[None]).detach().abs().cpu()
    similar = (iou > iou_thresh) & (change <= score_tol)
    return _pairs(torch.where(similar, iou - change, 0.0), reference)


def _iou(reference: Instances, candidates: Instances) -> Tensor:
    """(N, M), on the CPU: IoU, 0 for different classes."""
    iou = pairwise_iou(reference.pred_boxes, candidates.pred_boxes).detach().cpu()
    return torch.where(_same_class(reference, candidates), iou, 0.0)


def _same_class(reference: Instances, candidates: Instances) -> Tensor:
    """(N, M), boolean, on the CPU."""
    return reference.pred_classes[:, None].cpu() == candidates.pred_classes[None, :].cpu()


def _pairs(similarity: Tensor, reference: Instances) -> Tuple[Tensor, Tensor]:
    """The one-to-one pairs with the largest sum of similarities (N, M); those with 0 are left."""
    rows, cols = (
        torch.as_tensor(index, dtype=torch.long)
        for index in linear_sum_assignment(similarity, maximize=True)
    )
    found = similarity[rows, cols] > 0
    device = reference.pred_classes.device
    return rows[found].to(device), cols[found].to(device)
