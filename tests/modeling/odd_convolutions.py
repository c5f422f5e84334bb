"""Convolutions with a norm that are more, or other, than a convolution followed by its norm."""

from typing import Callable, Dict, List

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune


def trained(norm: nn.Module) -> nn.Module:
    """The norm with statistics and an affine map that are not those of a new one."""
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


def batch_norms(model: nn.Module) -> List[nn.Module]:
    return [m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))]


def _conv(conv: Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _norm(conv: Conv2d, x: Tensor) -> Tensor:
    return x if conv.norm is None else conv.norm(x)


def _activation(conv: Conv2d, x: Tensor) -> Tensor:
    return x if conv.activation is None else conv.activation(x)


class Standardised(Conv2d):
    """Convolves with ``gain * (weight - mean) / std + shift`` of each filter."""

    def forward(self, x: Tensor) -> Tensor:
        dims = (1, 2, 3)
        weight = self.weight - self.weight.mean(dims, keepdim=True)
        weight = self.gain * weight / self.weight.std(dims, keepdim=True) + self.shift
        return _activation(self, _norm(self, _conv(self, x, weight)))


class NormFirst(Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return _activation(self, _conv(self, _norm(self, x), self.weight))


class Gated(Conv2d):
    """A gate lies between the convolution and its norm."""

    def forward(self, x: Tensor) -> Tensor:
        y = _conv(self, x, self.weight)
        return _activation(self, _norm(self, y * y.sigmoid()))


class Doubled(Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Shifted(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def standardise(conv: Conv2d) -> None:
    """The same function as before, of filters that were stretched and shifted."""
    dims, filters = (1, 2, 3), conv.weight.detach()
    conv.register_buffer("gain", filters.std(dims, keepdim=True))
    conv.register_buffer("shift", filters.mean(dims, keepdim=True))
    conv.weight = nn.Parameter(
        filters * torch.linspace(2, 5, len(filters))[:, None, None, None] + 0.3
    )
    conv.__class__ = Standardised


def norm_first(conv: Conv2d) -> None:
    conv.norm = trained(FrozenBatchNorm2d(conv.in_channels))
    conv.__class__ = NormFirst


def of_class(cls: type) -> Callable[[Conv2d], None]:
    def change(conv: Conv2d) -> None:
        conv.__class__ = cls

    return change


def with_norm(make: Callable[[int], nn.Module]) -> Callable[[Conv2d], None]:
    def change(conv: Conv2d) -> None:
        conv.norm = make(conv.out_channels).eval()

    return change


def with_hook(conv: Conv2d) -> None:
    conv.register_forward_hook(lambda module, inputs, output: 0.5 * output)


def with_hook_on_norm(conv: Conv2d) -> None:
    conv.norm.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))


def with_own_forward(conv: Conv2d) -> None:
    conv.norm.forward = lambda x: x.abs()


CHANGES: Dict[str, Callable[[Conv2d], None]] = {
    "weight-standardised": standardise,
    "norm first": norm_first,
    "gate before the norm": of_class(Gated),
    "subclass": of_class(Doubled),
    "old weight_norm": lambda conv: nn.utils.weight_norm(conv) and None,
    "weight_norm": lambda conv: parametrizations.weight_norm(conv) and None,
    "old spectral_norm": lambda conv: nn.utils.spectral_norm(conv).eval() and None,
    "spectral_norm": lambda conv: parametrizations.spectral_norm(conv).eval() and None,
    "pruned": lambda conv: prune.l1_unstructured(conv, "weight", 0.3) and None,
    "norm without an affine map": with_norm(lambda n: nn.BatchNorm2d(n, affine=False)),
    "norm without statistics": with_norm(lambda n: nn.BatchNorm2d(n, track_running_stats=False)),
    "norm in training": lambda conv: conv.norm.train() and None,
    "subclass of a norm": with_norm(lambda n: trained(Shifted(n))),
    "hook": with_hook,
    "hook on the norm": with_hook_on_norm,
    "forward of its own": with_own_forward,
}
"""What is done to a convolution in place. Nothing of it may be folded."""
