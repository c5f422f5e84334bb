"""Grad-CAM."""

import torch
from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead
from .evidence import Evidence


@SALIENCY_HEAD_REGISTRY.register()
class GradCAM(CAMHead):
    """
    Grad-CAM (Selvaraju et al., 2017).

        w_k = mean_ij g_k          Eq. (1), the mean over the whole feature map
        L   = ReLU(sum_k w_k A^k)  Eq. (2)

    The weights are of the detection, but the map is of the whole level: everything that looks alike
    lights up.
    """

    odd = True

    def combine(self, evidence: Evidence) -> Tensor:
        weights = evidence.gradient.sum((-2, -1)) / evidence.num_cells  # Eq. (1)
        return torch.einsum("tk,khw->thw", weights, evidence.activations)  # Eq. (2)
