"""A folded model computes the same function."""

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from d2_saliency.modeling.optimize import folded, half_precision
from d2_saliency.modeling.saliency_heads import Gradient


def _trained(norm):
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


def test_batch_norms_become_part_of_their_convolutions():
    model = nn.Sequential(
        Conv2d(
            3, 4, 3, bias=False, norm=_trained(FrozenBatchNorm2d(4)), activation=nn.functional.relu
        ),
        Conv2d(4, 5, 1, bias=True, norm=_trained(nn.BatchNorm2d(5))),
        Conv2d(5, 2, 1),
    ).eval()
    x = torch.randn(2, 3, 8, 9)
    twin = folded(model)
    torch.testing.assert_close(twin(x), model(x), atol=1e-5, rtol=1e-5)
    assert [conv.norm for conv in twin] == [None] * 3 and isinstance(
        model[0].norm, FrozenBatchNorm2d
    )
    assert model[0].bias is None


def test_a_model_without_any_is_not_copied():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert folded(model) is model


def test_gradients_of_a_folded_bottleneck_are_the_same():
    block = BottleneckBlock(6, 8, bottleneck_channels=4, stride=2, norm="FrozenBN")
    for conv in (block.conv1, block.conv2, block.conv3, block.shortcut):
        _trained(conv.norm)
    block = block.double().eval()
    x = torch.randn(1, 6, 9, 10, dtype=torch.double, requires_grad=True)
    twin, cotangent = folded(block), torch.randn_like(block(x))
    expected, gradient = (torch.autograd.grad(m(x), x, cotangent)[0] for m in (block, twin))
    torch.testing.assert_close(gradient, expected)
    assert not any(p.requires_grad for p in twin.parameters()) and twin.conv1.norm is None
    assert all(p.requires_grad for p in block.parameters())


def test_fold_norms_is_a_switch():
    model = nn.Sequential(Conv2d(3, 4, 3, norm=_trained(FrozenBatchNorm2d(4)))).eval()
    assert Gradient(fold_norms=False).runner(model) is model
    assert Gradient().runner(model)[0].norm is None


def test_half_precision_only_where_it_is_asked_for():
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 5, 5)
    with half_precision(x.device):
        assert conv(x).dtype == torch.bfloat16
    with half_precision(x.device, enabled=False):
        assert conv(x).dtype == torch.float32
