"""Windows of a pyramid level that hold all that a head of convolutions reads for given cells."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn


def receptive_radius(modules: Tuple[nn.Module, ...]) -> Optional[int]:
    """
    Radius in cells of a stack of stride-1 convolutions and pointwise activations; None for any
    other module.
    """
    radius = 0
    for module in (m for part in modules for m in part.modules() if not list(m.children())):
        if isinstance(module, nn.Conv2d):
            reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size)]
            same_size = [2 * p for p in module.padding if not isinstance(p, str)] == reach
            if module.stride != (1, 1) or not same_size or module.padding_mode != "zeros":
                return None
            radius += max(reach) // 2
        elif not isinstance(module, (nn.ReLU, nn.Identity)):
            return None
    return radius


def cut_windows(feature: Tensor, cells: Tensor, radius: int) -> Tuple[Tensor, Tensor]:
    """
    Windows of a level (C, H, W) around n cells, shifted inside the level.

    Returns:
        corners (n, 2) as (top, left), and the windows (n, C, h, w), leaves that gradients can be
        taken to.
    """
    height, width = feature.shape[-2:]
    h, w = min(2 * radius + 1, height), min(2 * radius + 1, width)
    top = (torch.div(cells, width, rounding_mode="floor") - radius).clamp(0, height - h)
    left = (cells % width - radius).clamp(0, width - w)
    windows = [feature[:, y : y + h, x : x + w] for y, x in zip(top.tolist(), left.tolist())]
    return torch.stack([top, left], dim=1), torch.stack(windows).requires_grad_()
