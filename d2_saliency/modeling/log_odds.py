"""
Log-odds of scores, l = log(s / (1 - s)), and the slope ds/dl = s (1 - s), without cancellation.

In single precision a score above 1 - 3e-8 is 1, and a derivative that is computed with 1 - s = 0
loses some of its terms, or all. The derivative of l is of ordinary size, whatever the score.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_SLOPE = 2.0**-100
"""8e-31, for log-odds of 69 and more: smaller maps would not fit into single precision."""


def at_least_single(x: Tensor) -> Tensor:
    """
    ``x`` in float32, or in float64 if it is so: half precision has no 1 - s of sure detections.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def softmax_log_odds(logits: Tensor) -> Tensor:
    """
    Compute z_c - log sum_{k != c} exp(z_k) for each of V classes.

    Args:
        logits: (..., V), V >= 2.

    Returns:
        Tensor: (..., V), at least in single precision, as all that this module returns.
    """
    logits = at_least_single(logits)
    # Only the likeliest class may lose its 1 - p; every other p is at most 1/2.
    is_top = F.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
    top = logits - logits.masked_fill(is_top, float("-inf")).logsumexp(-1, keepdim=True)
    log_probs = logits.log_softmax(-1)
    others = log_probs - torch.log1p(-log_probs.masked_fill(is_top, float("-inf")).exp())
    return torch.where(is_top, top, others)


def log_odds_of(probs: Tensor) -> Tensor:
    """
    Compute the log-odds of probabilities of which nothing else is known. Where they round to 0 or
    1, the derivative is 0.
    """
    probs = at_least_single(probs)
    kind = torch.finfo(probs.dtype)
    return torch.logit(probs.clamp(kind.tiny, 1 - kind.eps))


def mean_log_odds(log_odds: Tensor) -> Tensor:
    """Log-odds of the mean of S probabilities with the given log-odds (S, ...)."""
    return F.logsigmoid(log_odds).logsumexp(0) - F.logsigmoid(-log_odds).logsumexp(0)


def geometric_mean_log_odds(a: Tensor, b: Tensor) -> Tensor:
    """Log-odds of s = sqrt(pq), p = sigmoid(a), q = sigmoid(b), as 1 - s = (1 - pq) / (1 + s)."""
    a, b = at_least_single(a), at_least_single(b)
    log_p, log_q = F.logsigmoid(a), F.logsigmoid(b)
    log_score = (log_p + log_q) / 2
    # 1 - pq = (1 - p) + p (1 - q)
    log_rest = torch.logaddexp(F.logsigmoid(-a), log_p + F.logsigmoid(-b))
    return log_score - log_rest + log_score.exp().log1p()


def score_slope(log_odds: Tensor) -> Tensor:
    """``ds/dl = s (1 - s)``, but at least :data:`SMALLEST_SLOPE`; without a graph."""
    log_odds = log_odds.detach()
    return (log_odds.sigmoid() * (-log_odds).sigmoid()).clamp(min=SMALLEST_SLOPE)
