"""SSGrad-CAM++."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .evidence import Evidence
from .grad_cam_plusplus import grad_cam_plusplus_weights
from .smoothing import SmoothingCAMHead
from .ss_grad_cam import space_maps


@SALIENCY_HEAD_REGISTRY.register()
class SSGradCAMPlusPlus(SmoothingCAMHead):
    """
    SSGrad-CAM++ (Yamauchi, 2024).

        w_k = sum_ij a_ij ReLU(g_ij)    a: :func:`grad_cam_plusplus_weights` with M
        S_k = |g_k| / max_ij |g_k|      see :class:`SSGradCAM`
        L   = ReLU(sum_k (w_k A^k) o S_k)

    M is 1 on the cells of the RoI (two-stage) or of the default box (one-stage). The sum for w_k
    runs over M only: outside of it the closed form of a is a constant.
    """

    odd = False

    def combine(self, evidence: Evidence) -> Tensor:
        g, region = evidence.gradient, evidence.region
        rows, columns = (region.any(axis).nonzero()[:, 0] for axis in (1, 0))  # M is a rectangle
        inside = evidence.activations[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        total = inside.sum((-2, -1))  # sum_ab A_ab M_ab
        weights = grad_cam_plusplus_weights(g, total, evidence.window(region))
        space = space_maps(self.smooth(g.abs()))
        return (weights[..., None, None] * evidence.window(evidence.activations) * space).sum(1)
