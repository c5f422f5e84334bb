"""Grad-CAM++."""

from typing import Optional

import torch
from torch import Tensor

from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead
from .evidence import Evidence


def grad_cam_plusplus_weights(
    gradient: Tensor, total: Tensor, region: Optional[Tensor] = None
) -> Tensor:
    """
    Channel weights of Grad-CAM++, and with a region of SSGrad-CAM++.

        a_ij = g^2 / (2 g^2 M + (sum_ab A_ab M_ab) g^3)    Grad-CAM++ Eq. (19), SSGrad-CAM++ (10)
        w_k  = sum_ij a_ij ReLU(g_ij)                      Eq. (5), with M over the region only

    so that each term is g+ / (2 + S g) with S the sum of A: the same, without powers of small
    numbers.

    Args:
        gradient: g = dY/dA inside of a window, (T, C, h, w); it is zero outside.
        total: S = sum_ab A_ab M_ab over the whole level, (C,).
        region: M inside of the window, (h, w).

    Returns:
        Tensor: (T, C).

    Note:
        FPN features are signed, so the denominator may be 0 or negative; a is 0 there.
    """
    denominator = 2 + total[:, None, None] * gradient
    terms = torch.where(denominator > 1e-6, gradient.relu() / denominator.clamp(min=1e-6), 0.0)
    return (terms if region is None else terms * region).sum((-2, -1))


@SALIENCY_HEAD_REGISTRY.register()
class GradCAMPlusPlus(CAMHead):
    """
    Grad-CAM++ (Chattopadhay et al., 2018), with the weights of :func:`grad_cam_plusplus_weights`.

        L = ReLU(sum_k w_k A^k)

    Y = exp(S) with S the class target, whose common factor exp(S) is dropped; for coordinates S is
    the coordinate divided by the box side.
    """

    odd = False

    def combine(self, evidence: Evidence) -> Tensor:
        weights = grad_cam_plusplus_weights(evidence.gradient, evidence.total)
        return torch.einsum("tk,khw->thw", weights, evidence.activations)
