"""SSGrad-CAM."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .evidence import Evidence
from .smoothing import SmoothingCAMHead


def space_maps(gradient: Tensor) -> Tensor:
    """
    ``S_k = |g_k| / max_ij |g_k|`` per channel, 0 where the maximum is 0; (..., h, w), values in [0,
    1].
    """
    magnitude = gradient.abs()
    peak = magnitude.amax((-2, -1), keepdim=True)
    return magnitude / peak.masked_fill(peak == 0, 1.0)


@SALIENCY_HEAD_REGISTRY.register()
class SSGradCAM(SmoothingCAMHead):
    """
    Spatial-sensitive Grad-CAM (Yamauchi and Ishikawa, 2022).

        w_k = mean_ij g_k
        S_k = |g_k| / max_ij |g_k|
        L   = ReLU(sum_k (w_k A^k) o S_k)

    S_k is smoothed by SMOOTH_SIGMA, which the paper does not give.
    """

    odd = True

    def combine(self, evidence: Evidence) -> Tensor:
        g = evidence.gradient
        weights = g.sum((-2, -1)) / evidence.num_cells
        space = space_maps(self.smooth(g.abs()))
        return (weights[..., None, None] * evidence.window(evidence.activations) * space).sum(1)
