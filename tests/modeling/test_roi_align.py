"""The matrices against torchvision's RoIAlign kernel."""

import pytest
import torch
from detectron2.layers import ROIAlign

from d2_saliency.modeling.roi_align import roi_align_matrices

BOXES = {
    "inside": [40.3, 50.7, 120.1, 90.2],
    "whole map": [0.0, 0.0, 320.0, 256.0],
    "over the top left border": [-30.0, -10.0, 50.0, 60.0],
    "over the bottom right border": [290.0, 200.0, 350.0, 300.0],
    "outside": [400.0, 300.0, 450.0, 360.0],
    "tiny": [100.2, 100.4, 100.9, 101.0],
    "thin": [100.0, 20.0, 103.0, 250.0],
    "empty": [60.0, 60.0, 60.0, 60.0],
}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("name", BOXES)
def test_equals_the_kernel_forward_and_backward(name, sampling_ratio, aligned):
    box = BOXES[name]
    align = ROIAlign((7, 5), spatial_scale=1 / 8, sampling_ratio=sampling_ratio, aligned=aligned)
    features = torch.randn(1, 3, 32, 40, requires_grad=True)
    pooled = align(features, torch.tensor([[0.0, *box]]))
    cotangent = torch.randn_like(pooled)
    (expected,) = torch.autograd.grad(pooled, features, cotangent)

    top, left, rows, columns = roi_align_matrices(box, align, 32, 40)
    height, width = rows.shape[1], columns.shape[1]
    window = features.detach()[..., top : top + height, left : left + width]
    torch.testing.assert_close(rows @ window @ columns.T, pooled.detach(), rtol=1e-5, atol=1e-5)
    gradient = torch.zeros_like(expected)
    gradient[..., top : top + height, left : left + width] = rows.T @ cotangent @ columns
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
