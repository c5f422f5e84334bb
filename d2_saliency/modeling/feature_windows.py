"""Gradients of a detection on a window of a feature level, and where windows and cells lie."""

import math
from typing import Dict, Iterable, List, NamedTuple, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..structures import SaliencyMaps


class FeatureWindow(NamedTuple):
    """
    The gradients of a detection's five outputs to one feature level; they are zero outside of this
    window.

    Attributes:
        level: key of ``ForwardPass.features``.
        top, left: position of the window on the level, in cells.
        gradient: (5, C, h, w).
    """

    level: str
    top: int
    left: int
    gradient: Tensor


def joined_windows(parts: Iterable[FeatureWindow]) -> List[FeatureWindow]:
    """
    One window per level, the sum of those on it: a Cascade detection reads its level once for each
    stage.
    """
    by_level: Dict[str, List[FeatureWindow]] = {}
    for part in parts:
        by_level.setdefault(part.level, []).append(part)
    return [_joined(same) if len(same) > 1 else same[0] for same in by_level.values()]


def _joined(parts: List[FeatureWindow]) -> FeatureWindow:
    top, left = min(p.top for p in parts), min(p.left for p in parts)
    bottom = max(p.top + p.gradient.shape[-2] for p in parts)
    right = max(p.left + p.gradient.shape[-1] for p in parts)
    total = parts[0].gradient.new_zeros(*parts[0].gradient.shape[:2], bottom - top, right - left)
    for p in parts:
        y, x = p.top - top, p.left - left
        total[..., y : y + p.gradient.shape[-2], x : x + p.gradient.shape[-1]] += p.gradient
    return FeatureWindow(parts[0].level, top, left, total)


def widened(part: FeatureWindow, margin: int, size: Tuple[int, int]) -> FeatureWindow:
    """The same window with ``margin`` more cells on each side, where the level (H, W) has them."""
    h, w = part.gradient.shape[-2:]
    up, left = min(margin, part.top), min(margin, part.left)
    down, right = min(margin, size[0] - part.top - h), min(margin, size[1] - part.left - w)
    gradient = F.pad(part.gradient, (left, right, up, down))
    return FeatureWindow(part.level, part.top - up, part.left - left, gradient)


def stride(padded_size: Tuple[int, int], level_size: Tuple[int, int]) -> Tuple[float, float]:
    """
    Pixels per cell in y and x, powers of 2: the last cells of coarse levels reach beyond the padded
    image.
    """
    y, x = (2.0 ** math.ceil(math.log2(p / n) - 1e-6) for p, n in zip(padded_size, level_size))
    return y, x


def region_cells(box: Tensor, stride: Tuple[float, float], level: Tensor) -> Tensor:
    """Cells (H, W) whose centre lies in the box; the nearest cell if there is none."""
    axes = []
    for low, high, step, size in zip(box[[1, 0]], box[[3, 2]], stride, level.shape[-2:]):
        centre = (torch.arange(size, device=level.device) + 0.5) * step
        inside = (centre >= low) & (centre <= high)
        if not inside.any():
            inside[(centre - (low + high) / 2).abs().argmin()] = True
        axes.append(inside.to(level.dtype))
    return axes[0][:, None] * axes[1][None]


def sum_of_levels(placed: List[Tuple[Tensor, Tensor]]) -> Tuple[Tensor, Tensor]:
    """
    Add maps (5, h, w) of several levels, each with its area (x0, y0, x1, y1), on the finest grid.
    Cascade has detections that were read from more than one.

    Returns:
        their sum (5, h, w) and the area that it covers.
    """
    if len(placed) == 1:
        return placed[0]
    areas = torch.stack([area for _, area in placed])
    cell = min((area[2] - area[0]).item() / m.shape[-1] for m, area in placed)
    union = torch.cat([areas[:, :2].amin(0), areas[:, 2:].amax(0)])
    width, height = ((union[2:] - union[:2]) / cell).round().int().tolist()
    local = (areas - union[:2].repeat(2)) / cell
    maps = SaliencyMaps([m for m, _ in placed], local, (height, width)).resize(height, width)
    return maps.sum(0), union
