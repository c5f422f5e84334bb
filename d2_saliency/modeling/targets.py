"""What a saliency map explains: the five scalar outputs of each detection."""

import torch
from detectron2.structures import Instances
from torch import Tensor

CLASS_TARGETS = ("score", "logit", "contrast")


def instance_targets(instances: Instances, class_target: str = "score") -> Tensor:
    """
    The five outputs of N detections as one differentiable tensor, in the order of ``OUTPUTS``.

    With z the class logits of a detection, p its class probabilities and c the explained class:

        score       p_c                               ODSmoothGrad, second method
        logit       z_c                               ODSmoothGrad, first method
        contrast    z_c - log sum_{k != c} exp(z_k)   over foreground classes: why this class and no other

    Args:
        instances: N detections with ``raw_boxes`` (N, 4), box corners in pixels of the network input before
            clipping (a clipped coordinate has no gradient), ``class_logits`` and ``class_probs`` (N, K) of the
            foreground classes, ``pred_classes`` (N,) and, to explain another class than the predicted one,
            ``target_classes`` (N,). Architectures that reveal the score of the predicted class alone have
            ``scores`` (N,) in place of logits and probabilities.
        class_target: one of "score", "logit", "contrast". With a single foreground class "contrast" equals "logit".

    Returns:
        Tensor: (N, 5); column 0 is the class, columns 1..4 the coordinates in pixels.

    Raises:
        ValueError: for another ``class_target`` or one that the architecture does not reveal.
    """
    if class_target not in CLASS_TARGETS:
        raise ValueError(f"MODEL.SALIENCY_HEAD.CLASS_TARGET is '{class_target}'; choose one of {CLASS_TARGETS}.")
    class_output = _score_only_target if not instances.has("class_logits") else _class_target
    return torch.cat([class_output(instances, class_target)[:, None], instances.raw_boxes], dim=1)


def _class_target(instances: Instances, class_target: str) -> Tensor:
    classes = instances.target_classes if instances.has("target_classes") else instances.pred_classes
    logits = instances.class_logits
    if class_target == "score":
        return instances.class_probs.gather(1, classes[:, None])[:, 0]
    own = logits.gather(1, classes[:, None])[:, 0]
    if class_target == "logit" or logits.shape[1] == 1:
        return own
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return own - others.logsumexp(1)


def _score_only_target(instances: Instances, class_target: str) -> Tensor:
    """The class output of an architecture that reveals only the score of the predicted class."""
    if class_target == "contrast":
        raise ValueError(
            "CLASS_TARGET 'contrast' needs the logits of all classes, which this architecture does not reveal; "
            "use 'score' or 'logit'."
        )
    if instances.has("target_classes") and not torch.equal(instances.target_classes, instances.pred_classes):
        raise ValueError(
            "TARGET_CLASS needs the scores of all classes, which this architecture does not reveal; leave it at -1."
        )
    if class_target == "score":
        return instances.scores
    # The logit of a sigmoid score; for a softmax score the log-odds against all other classes.
    return torch.logit(instances.scores, eps=torch.finfo(instances.scores.dtype).eps)
