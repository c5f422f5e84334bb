"""Less work for the same function."""

import copy
from contextlib import contextmanager
from typing import ContextManager, Iterator

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn


@contextmanager
def frozen_parameters(model: nn.Module) -> Iterator[None]:
    """
    Leave the gradients of all parameters out of the backward passes inside (about half of their
    work).

    ``requires_grad`` of every parameter is as before afterwards, also after an exception.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        for p in trained:
            p.requires_grad_(False)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def half_precision(device: torch.device, enabled: bool = True) -> ContextManager:
    """
    Run convolutions and matrix products inside in bfloat16, which the processor may have in
    hardware.
    """
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def folded(model: nn.Module) -> nn.Module:
    """
    A copy of a model in eval mode whose batch norms are part of the convolutions before them; the
    same function.

    Its weights are stored channels last, which convolutions on a CPU like better, and need no
    gradients. Values differ by rounding; where that changes the sign of what a ReLU gets, the
    gradient of single pixels changes with it.

    This knows the convolutions of Detectron2, which hold their norm. A model without any is
    returned as it is.
    """
    if not any(_has_batch_norm(m) for m in model.modules()):
        return model
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        for conv in filter(_has_batch_norm, twin.modules()):
            norm = conv.norm
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            bias = 0 if conv.bias is None else conv.bias
            conv.bias = nn.Parameter(norm.bias + (bias - norm.running_mean) * scale)
            conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
            conv.norm = None
    for module in twin.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return twin.requires_grad_(False)


def _has_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, Conv2d) and isinstance(
        module.norm, (nn.BatchNorm2d, FrozenBatchNorm2d)
    )
