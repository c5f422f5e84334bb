"""LayerCAM."""

from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead
from .evidence import Evidence


@SALIENCY_HEAD_REGISTRY.register()
class LayerCAM(CAMHead):
    """
    LayerCAM (Jiang et al., 2021).

        L = ReLU(sum_k ReLU(g_k) o A^k)
    """

    odd = False

    def combine(self, evidence: Evidence) -> Tensor:
        return (evidence.gradient.relu() * evidence.window(evidence.activations)).sum(1)
