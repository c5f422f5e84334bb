"""A folded model computes the same function."""

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn

from d2_saliency.modeling.optimize import folded


def _trained(norm):
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


def test_batch_norms_become_part_of_their_convolutions():
    model = nn.Sequential(
        Conv2d(3, 4, 3, bias=False, norm=_trained(FrozenBatchNorm2d(4)), activation=nn.functional.relu),
        Conv2d(4, 5, 1, bias=True, norm=_trained(nn.BatchNorm2d(5))),
        Conv2d(5, 2, 1),
    ).eval()
    x = torch.randn(2, 3, 8, 9)
    twin = folded(model)
    torch.testing.assert_close(twin(x), model(x), atol=1e-5, rtol=1e-5)
    assert [conv.norm for conv in twin] == [None] * 3 and isinstance(model[0].norm, FrozenBatchNorm2d)
    assert model[0].bias is None


def test_a_model_without_any_is_not_copied():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert folded(model) is model
