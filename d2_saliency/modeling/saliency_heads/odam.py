"""ODAM, and its relatives without a kernel."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead, Evidence


@SALIENCY_HEAD_REGISTRY.register()
class ODAM(CAMHead):
    """
    Object detector activation maps (Zhao and Chan, 2023).

        L = ReLU(sum_k smooth(g_k) o A^k)

    smooth is a Gaussian of SMOOTH_SIGMA cells; the paper does not give its kernel.
    """

    smooths = True

    def combine(self, evidence: Evidence) -> Tensor:
        return (self.smooth(evidence.gradient) * evidence.window(evidence.activations)).sum(1)
