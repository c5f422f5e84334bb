"""The targets of explanations: the five scalar outputs of each detection."""

from typing import List, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F

from ..keys import check_values
from .log_odds import score_slope


def instance_targets(instances: Instances, class_target: str = "score") -> Tensor:
    """
    The five outputs of N detections as one differentiable tensor, in the order of ``OUTPUTS``.

    With z the class logits of a detection, p its class probabilities and c the explained class:

        score       p_c                               ODSmoothGrad, second method
        logit       z_c                               ODSmoothGrad, first method
        contrast    z_c - log sum_{k != c} exp(z_k)   over foreground: why this class and no other
        mask        the mean logit inside of the predicted mask (MASK_OUTPUT)

    Args:
        instances: N detections with ``raw_boxes`` (N, 4), box corners in pixels of the network
            input before clipping (a clipped coordinate has no gradient), ``class_logits`` and
            ``class_probs`` (N, K) of the foreground classes, ``pred_classes`` (N,) and, to explain
            another class than the predicted one, ``target_classes`` (N,). Architectures that reveal
            the score of the predicted class alone have ``scores`` (N,) in place of logits and
            probabilities. For "mask", ``mask_logits`` (N,).
        class_target: one of "score", "logit", "contrast", "mask". With a single foreground class
            "contrast" equals "logit".

    Returns:
        Tensor: (N, 5); column 0 is the class, columns 1..4 the coordinates in pixels.

    Raises:
        ValueError: for another ``class_target`` or one that the architecture does not reveal.
    """
    if class_target == "mask":
        return _mask_targets(instances)
    check_values("MODEL.SALIENCY_HEAD", {"class_target": class_target})
    class_output = _score_only_target if not instances.has("class_logits") else _class_target
    return torch.cat([class_output(instances, class_target)[:, None], instances.raw_boxes], dim=1)


def differentiable_targets(
    instances: Instances, class_target: str = "score"
) -> Tuple[Tensor, Tensor]:
    """
    Prepare :func:`instance_targets` for differentiation: y, and slopes to multiply its gradient
    with.

    A score s is differentiated as its log-odds l, for ds = s (1 - s) dl: dl has all its digits
    where s rounds to 1, and is not too small for half precision, as s (1 - s) may be.

    Args:
        instances: as for :func:`instance_targets`, and ``class_log_odds`` (N, K) of the scores, see
            :mod:`.log_odds`. Where an architecture does not reveal them, the score is
            differentiated as it is.
        class_target: as for :func:`instance_targets`.

    Returns:
        y (N, 5), and slopes (N, 5): 1, for a score its s (1 - s), but at least ``SMALLEST_SLOPE``.
        Where that holds it up, a class map has its shape but is too large.
    """
    if class_target != "score" or not instances.has("class_log_odds"):
        targets = instance_targets(instances, class_target)
        return targets, torch.ones_like(targets)
    log_odds = instances.class_log_odds.gather(1, _explained_classes(instances)[:, None])
    targets = torch.cat([log_odds, instances.raw_boxes], dim=1)
    return targets, torch.cat([score_slope(log_odds), torch.ones_like(targets[:, 1:])], dim=1)


def target_objects(instances: Instances) -> Instances:
    """
    Describe N objects so that outputs can be compared with them (:func:`detection_similarity`).

    Args:
        instances: with ``pred_boxes``, ``pred_classes`` and ``class_vectors`` (N, V). Where
            ``target_classes`` says that another class is to be explained, the class vector is all
            of that class.
    """
    classes, vectors = instances.pred_classes, instances.class_vectors.detach()
    if instances.has("target_classes"):
        classes = instances.target_classes
        vectors = F.one_hot(classes, max(vectors.shape[1], int(classes.max()) + 1)).to(vectors)
    return Instances(
        instances.image_size,
        pred_boxes=instances.pred_boxes,
        pred_classes=classes,
        class_vectors=vectors,
    )


def check_classes(objects: List[Instances], num_classes: int) -> None:
    """Raise ValueError for an object whose class the model does not have."""
    for label in (label for o in objects for label in o.pred_classes.tolist()):
        if not 0 <= label < num_classes:
            raise ValueError(
                f"There is no class {label}: the model has the classes 0 to {num_classes - 1}."
            )


def _explained_classes(instances: Instances) -> Tensor:
    return instances.target_classes if instances.has("target_classes") else instances.pred_classes


def _class_target(instances: Instances, class_target: str) -> Tensor:
    classes, logits = _explained_classes(instances), instances.class_logits
    if class_target == "score":
        return instances.class_probs.gather(1, classes[:, None])[:, 0]
    own = logits.gather(1, classes[:, None])[:, 0]
    if class_target == "logit" or logits.shape[1] == 1:
        return own
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return own - others.logsumexp(1)


def _mask_targets(instances: Instances) -> Tensor:
    if not instances.has("mask_logits"):
        raise ValueError(
            "MODEL.SALIENCY_HEAD.MASK_OUTPUT needs a Mask R-CNN whose features are known, and a "
            "method that looks at gradients of features or pixels, such as ODSmoothGrad or ODAM; "
            "leave it at False."
        )
    return torch.cat([instances.mask_logits[:, None], instances.raw_boxes], dim=1)


def _score_only_target(instances: Instances, class_target: str) -> Tensor:
    """The class output of an architecture that reveals only the score of the predicted class."""
    if class_target == "contrast":
        raise ValueError(
            "CLASS_TARGET 'contrast' needs the logits of all classes, which this architecture does "
            "not reveal; use 'score' or 'logit'."
        )
    if instances.has("target_classes") and not torch.equal(
        instances.target_classes, instances.pred_classes
    ):
        raise ValueError(
            "TARGET_CLASS needs the scores of all classes, which this architecture does not "
            "reveal; leave it at -1."
        )
    if class_target == "score":
        return instances.scores
    # A sigmoid score has this logit; a softmax score has log-odds against all other classes.
    return torch.logit(instances.scores, eps=torch.finfo(instances.scores.dtype).eps)
