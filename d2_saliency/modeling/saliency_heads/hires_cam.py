"""HiResCAM."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead
from .evidence import Evidence


@SALIENCY_HEAD_REGISTRY.register()
class HiResCAM(CAMHead):
    """
    HiResCAM (Draelos and Carin, 2020): ODAM without smoothing.

        L = ReLU(sum_k g_k o A^k)
    """

    odd = True

    def combine(self, evidence: Evidence) -> Tensor:
        return (evidence.gradient * evidence.window(evidence.activations)).sum(1)
