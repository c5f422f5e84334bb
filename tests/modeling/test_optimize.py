"""Half precision where it is asked for."""

import torch
from torch import nn

from d2_saliency.modeling.optimize import half_precision


def test_half_precision_only_where_it_is_asked_for():
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 5, 5)
    with half_precision(x.device):
        assert conv(x).dtype == torch.bfloat16
    with half_precision(x.device, enabled=False):
        assert conv(x).dtype == torch.float32
