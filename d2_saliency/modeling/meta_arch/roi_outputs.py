"""
Outputs of RoI heads as functions of pooled features: the box branch, and the mask branch of Mask
R-CNN.
"""

from functools import singledispatch
from typing import Callable, List, NamedTuple

import torch
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    ROIHeads,
    StandardROIHeads,
)
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..log_odds import at_least_single, log_odds_of, mean_log_odds, softmax_log_odds

# Shape shorthand: R RoIs of all images together, K foreground classes, P the pooler's output size.


class RoIOutputs(NamedTuple):
    """
    The box head's outputs for R RoIs.

    Attributes:
        logits, probs: (R, K + 1), before and after softmax, background last. Cascade averages them
            over its stages.
        log_odds: (R, K + 1), those of ``probs``, also where these round to 1; see
            :mod:`..log_odds`.
        boxes: (R, K, 4), or (R, 1, 4) for class-agnostic regression; decoded, not clipped.
    """

    logits: Tensor
    probs: Tensor
    log_odds: Tensor
    boxes: Tensor


Pool = Callable[[List[Boxes]], Tensor]


@singledispatch
def roi_outputs(roi_heads: nn.Module, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    """
    The box branch of ``roi_heads`` as a function of pooled features. New kinds of RoI heads
    register here.

    Args:
        roi_heads: the stock module.
        pool: boxes of each image -> pooled features (R, C, P, P) of them all.
        proposals: ``Instances`` with ``proposal_boxes``, for each image.
    """
    raise TypeError(f"{type(roi_heads).__name__} is not a known kind of RoI heads.")


@roi_outputs.register
def _standard_outputs(
    heads: StandardROIHeads, pool: Pool, proposals: List[Instances]
) -> RoIOutputs:
    predictions = heads.box_predictor(heads.box_head(pool([p.proposal_boxes for p in proposals])))
    return _decode(heads.box_predictor, predictions, proposals)


@roi_outputs.register
def _res5_outputs(heads: Res5ROIHeads, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    box_features = heads.res5(pool([p.proposal_boxes for p in proposals]))
    return _decode(
        heads.box_predictor, heads.box_predictor(box_features.mean(dim=[2, 3])), proposals
    )


@roi_outputs.register
def _cascade_outputs(heads: CascadeROIHeads, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    # Stock `_run_stage` scales the gradient of each stage down, for training; an explanation wants
    # the true one.
    stages: List[RoIOutputs] = []
    sizes = [p.image_size for p in proposals]
    for box_head, predictor in zip(heads.box_head, heads.box_predictor):
        if stages:
            boxes = stages[-1].boxes[:, 0].split([len(p) for p in proposals])
            proposals = heads._create_proposals_from_boxes(boxes, sizes)
        predictions = predictor(box_head(pool([p.proposal_boxes for p in proposals])))
        stages.append(_decode(predictor, predictions, proposals))
    mean = [
        sum(values) * (1.0 / len(stages)) for values in zip(*((s.logits, s.probs) for s in stages))
    ]
    log_odds = mean_log_odds(torch.stack([s.log_odds for s in stages]))
    return RoIOutputs(mean[0], mean[1], log_odds, stages[-1].boxes)


def _decode(predictor, predictions, proposals: List[Instances]) -> RoIOutputs:
    boxes = torch.cat(predictor.predict_boxes(predictions, proposals))
    probs = torch.cat(predictor.predict_probs(predictions, proposals))
    log_odds = _log_odds(predictor, predictions[0], probs)
    return RoIOutputs(predictions[0], probs, log_odds, boxes.unflatten(1, (boxes.shape[1] // 4, 4)))


def _log_odds(predictor, logits: Tensor, probs: Tensor) -> Tensor:
    """Take log-odds from the logits, unless the predictor makes probabilities in its own way."""
    if type(predictor).predict_probs is not FastRCNNOutputLayers.predict_probs:
        return log_odds_of(probs)
    # Detectron2's main has one sigmoid per class, too, for LVIS.
    return (
        at_least_single(logits)
        if getattr(predictor, "use_sigmoid_ce", False)
        else softmax_log_odds(logits)
    )


def box_pooler(roi_heads: ROIHeads) -> nn.Module:
    return roi_heads.pooler if isinstance(roi_heads, Res5ROIHeads) else roi_heads.box_pooler


def box_levels(roi_heads: ROIHeads) -> List[str]:
    return (
        roi_heads.in_features if isinstance(roi_heads, Res5ROIHeads) else roi_heads.box_in_features
    )


def mask_logits(roi_heads: ROIHeads, pool: Pool, instances: List[Instances]) -> Tensor:
    """
    Measure how sure the mask branch is of each detection's mask: the mean logit inside of the
    predicted mask.

    Args:
        roi_heads: the stock module.
        pool: as for :func:`roi_outputs`, with :func:`mask_pooler`.
        instances: ``pred_boxes`` and ``pred_classes``, for each image.

    Returns:
        Tensor: (R,); where no cell of a mask is above 0.5, the mean over all its cells.
    """
    features = pool([i.pred_boxes for i in instances])
    features = roi_heads.res5(features) if isinstance(roi_heads, Res5ROIHeads) else features
    # (R, K, M, M), or (R, 1, M, M) for class-agnostic masks
    logits = roi_heads.mask_head.layers(features)
    classes = torch.cat([i.pred_classes for i in instances])
    rows = torch.arange(len(logits), device=logits.device)
    own = logits[rows, classes if logits.shape[1] > 1 else 0].flatten(1)
    inside = (own > 0) | (own <= 0).all(dim=1, keepdim=True)
    return (own * inside).sum(dim=1) / inside.sum(dim=1)


def mask_pooler(roi_heads: ROIHeads) -> nn.Module:
    """
    The pooler of the mask branch; ValueError for RoI heads without a mask head, or with an unusual
    one.
    """
    if not getattr(roi_heads, "mask_on", False) or not isinstance(
        roi_heads.mask_head, BaseMaskRCNNHead
    ):
        raise ValueError(
            "MODEL.SALIENCY_HEAD.MASK_OUTPUT explains the masks of a Mask R-CNN; this model has no "
            "mask head of that kind (MODEL.MASK_ON). Leave it at False."
        )
    return roi_heads.pooler if isinstance(roi_heads, Res5ROIHeads) else roi_heads.mask_pooler


def mask_levels(roi_heads: ROIHeads) -> List[str]:
    return (
        roi_heads.in_features if isinstance(roi_heads, Res5ROIHeads) else roi_heads.mask_in_features
    )
