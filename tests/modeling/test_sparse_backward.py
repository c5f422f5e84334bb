"""Gradients to the input of a convolution are torch's own, whatever part of them is zero."""

import pytest
import torch
from torch import nn

from d2_saliency import explainable
from d2_saliency.modeling import sparse_backward
from d2_saliency.modeling.optimize import frozen_parameters, half_precision
from d2_saliency.modeling.saliency_heads import Gradient, ODSmoothGrad
from d2_saliency.modeling.sparse_backward import skipping_zeros

CONVOLUTIONS = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=(3, 5), stride=(2, 1), padding=(1, 3)),
    dict(kernel_size=3, padding=2, dilation=2, groups=2),
    dict(kernel_size=7, stride=2, padding=3),
    dict(kernel_size=3, padding="same"),
]
WINDOWS = [(0, 3, 0, 2), (4, 6, 3, 7), (-2, None, -1, None), (0, None, 5, 6), (2, 2, 2, 2)]


def gradient_to_input(conv, x, window, skip):
    """Of the sum of the outputs in a window, weighted with numbers that are no zeros."""
    x = x.detach().requires_grad_()
    with skipping_zeros(skip):
        y = torch.relu(conv(x))
    top, bottom, left, right = window
    cotangent = torch.zeros_like(y)
    inside = cotangent[..., top:bottom, left:right]
    inside += (
        torch.rand(inside.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) - 0.5
    )
    return torch.autograd.grad(y, x, cotangent)[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_gradients_are_those_of_torch(options, window, layout):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **options).double().requires_grad_(False)
    x = torch.randn(2, 4, 14, 17, dtype=torch.double).contiguous(memory_format=layout)
    expected, found = (gradient_to_input(conv, x, window, skip) for skip in (False, True))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_only_the_window_is_computed(monkeypatch):
    shapes, to_input = [], sparse_backward._to_input
    monkeypatch.setattr(
        sparse_backward,
        "_to_input",
        lambda g, *args: (shapes.append(g.shape), to_input(g, *args))[1],
    )
    conv, x = (
        nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False),
        torch.rand(1, 3, 20, 30, requires_grad=True),
    )
    with skipping_zeros():
        y = conv(x)
    y[..., 5:7, 10:13].sum().backward()
    assert shapes == [(1, 4, 2, 3)]
    assert x.grad[..., 4:8, 9:14].ne(0).all() and x.grad.ne(0).sum() == 3 * 4 * 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e-42, -1e-42])
def test_what_is_not_finite_or_hardly_above_zero_is_not_left_out(bad):
    conv, x = (
        nn.Conv2d(1, 1, 1, bias=False).requires_grad_(False),
        torch.ones(1, 1, 9, 9, requires_grad=True),
    )
    conv.weight.fill_(1.0)
    with skipping_zeros():
        y = conv(x)
    cotangent = torch.zeros_like(y)
    cotangent[..., 4, 7] = bad
    (found,) = torch.autograd.grad(y, x, cotangent)
    torch.testing.assert_close(found, cotangent, equal_nan=True)


def test_gradients_of_parameters_are_still_computed():
    conv, x = nn.Conv2d(2, 3, 3), torch.randn(1, 2, 8, 8, requires_grad=True)
    gradients = []
    for skip in (False, True):
        with skipping_zeros(skip):
            gradients.append(
                torch.autograd.grad(conv(x)[..., :2, :2].sum(), [x, *conv.parameters()])
            )
    torch.testing.assert_close(*gradients)


def test_works_under_autocast():
    conv, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 12, 12)

    def gradient(skip):
        with frozen_parameters(conv), half_precision(x.device):
            return gradient_to_input(conv, x, (0, 3, 0, 3), skip)

    expected, found = gradient(False), gradient(True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
@pytest.mark.parametrize("method", [Gradient, ODSmoothGrad])
def test_the_maps_of_a_detector_are_the_same(name, method, stock_detector, demo_image, monkeypatch):
    model, sparse = explainable(stock_detector(name)), []
    convolution = sparse_backward._SparseConv2d.apply
    monkeypatch.setattr(
        sparse_backward._SparseConv2d,
        "apply",
        lambda *args: (sparse.append(1), convolution(*args))[1],
    )
    maps = []
    for skip in (False, True):
        assert not sparse
        options = dict(num_samples=1, match="index") if method is ODSmoothGrad else {}
        model.saliency_head = method(max_instances=1, skip_zeros=skip, **options)
        (found,) = model([demo_image(0)])
        saliency = found["instances"].pred_saliency
        maps.append(saliency.maps[int(saliency.explained.nonzero())])
    assert len(sparse) > 50
    difference = (maps[0] - maps[1]).abs().amax((1, 2)) / maps[0].amax((1, 2))
    assert (difference < 2e-5).all()
