"""ODAM."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .evidence import Evidence
from .smoothing import SmoothingCAMHead


@SALIENCY_HEAD_REGISTRY.register()
class ODAM(SmoothingCAMHead):
    """
    Object detector activation maps (Zhao and Chan, 2023).

        L = ReLU(sum_k smooth(g_k) o A^k)

    smooth is a Gaussian of SMOOTH_SIGMA cells; the paper does not give its kernel.
    """

    odd = True

    def combine(self, evidence: Evidence) -> Tensor:
        return (self.smooth(evidence.gradient) * evidence.window(evidence.activations)).sum(1)
