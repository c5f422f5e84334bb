"""A copy without norms computes the same function."""

import copy

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn
from torch.nn import functional as F

from d2_saliency.modeling.folding import without_norms
from tests.modeling.odd_convolutions import CHANGES, trained


def test_norms_become_part_of_their_convolutions():
    model = nn.Sequential(
        Conv2d(
            3, 4, 3, bias=False, norm=trained(FrozenBatchNorm2d(4)), activation=nn.functional.relu
        ),
        Conv2d(4, 5, 1, bias=True, norm=trained(nn.BatchNorm2d(5, eps=0.1))),
        Conv2d(5, 6, 3, groups=1, stride=2, padding=1, norm=trained(NaiveSyncBatchNorm(6))),
        Conv2d(6, 2, 1),
    ).eval()
    x = torch.randn(2, 3, 8, 9)
    twin = without_norms(model)
    torch.testing.assert_close(twin(x), model(x), atol=1e-5, rtol=1e-5)
    assert [conv.norm for conv in twin] == [None] * 4 and isinstance(
        model[0].norm, FrozenBatchNorm2d
    )
    assert model[0].bias is None


def test_in_half_precision_small_variances_count():
    conv = Conv2d(3, 4, 3, norm=trained(FrozenBatchNorm2d(4)))
    conv.norm.running_var.fill_(2e-7)
    x = torch.randn(1, 3, 5, 5)
    expected = copy.deepcopy(conv).half().double()(x.half().double())
    twin = without_norms(conv.half())
    assert twin.weight.dtype == twin.bias.dtype == torch.float16
    error = (twin(x.half()).double() - expected).abs().max() / expected.abs().max()
    assert error < 4 * torch.finfo(torch.float16).eps


def test_gradients_of_a_bottleneck_are_the_same():
    block = BottleneckBlock(6, 8, bottleneck_channels=4, stride=2, norm="FrozenBN")
    for conv in (block.conv1, block.conv2, block.conv3, block.shortcut):
        trained(conv.norm)
    block = block.double().eval()
    x = torch.randn(1, 6, 9, 10, dtype=torch.double, requires_grad=True)
    twin, cotangent = without_norms(block), torch.randn_like(block(x))
    expected, gradient = (torch.autograd.grad(m(x), x, cotangent)[0] for m in (block, twin))
    torch.testing.assert_close(gradient, expected)
    assert not any(p.requires_grad for p in twin.parameters()) and twin.conv1.norm is None
    assert all(p.requires_grad for p in block.parameters())


def test_a_model_without_any_is_not_copied():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    assert without_norms(model) is model


@pytest.mark.parametrize("kind", CHANGES)
def test_any_other_convolution_stays_as_it_is(kind):
    """
    Beside one that is folded; in double precision, so that what is not folded equals up to 1e-12.
    """
    model = nn.Sequential(
        Conv2d(3, 4, 3, norm=trained(nn.BatchNorm2d(4))),
        Conv2d(4, 6, 3, bias=False, norm=trained(nn.BatchNorm2d(6)), activation=F.relu),
    )
    model = model.double().eval()
    CHANGES[kind](model[1])
    model.double()
    model[1].norm.momentum = 0  # the one in training shall not change between the runs
    x = torch.randn(2, 3, 8, 9, dtype=torch.double)
    twin = without_norms(model)
    assert twin[0].norm is None and twin[1].norm is not None
    torch.testing.assert_close(twin(x), model(x), atol=1e-12, rtol=1e-12)


def test_tensors_that_are_not_folded_are_the_model_s_own(stock_detector):
    detector = stock_detector("faster_rcnn_planted")
    twin = without_norms(detector)
    mine = dict(detector.named_parameters())
    shared = [name for name, p in twin.named_parameters() if mine.get(name) is p]
    assert any("box_head" in name for name in shared) and "backbone.fpn_output2.bias" in shared
    assert not [name for name in shared if "bottom_up" in name]
    assert all(p.requires_grad for p in mine.values())
