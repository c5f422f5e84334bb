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
    iou = pairwise_iou(reference.pred_boxes, candidates.pred_boxes).detach().cpu()
    same_class = reference.pred_classes[:, None].cpu() == candidates.pred_classes[None, :].cpu()
    iou = torch.where(same_class & (iou > iou_thresh), iou, torch.zeros_like(iou))
    rows, cols = (
        torch.as_tensor(index, dtype=torch.long)
        for index in linear_sum_assignment(iou, maximize=True)
    )
    found = iou[rows, cols] > 0
    device = reference.pred_classes.device
    return rows[found].to(device), cols[found].to(device)
