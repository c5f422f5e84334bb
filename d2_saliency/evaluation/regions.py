"""
Regions of an image (H, W), and how much of a map lies on them. A pixel belongs where its centre
lies.
"""

from typing import Sequence, Tuple

import numpy as np


def box_pixels(box: Sequence[float], shape: Tuple[int, int]) -> np.ndarray:
    """Pixels of a box (x_min, y_min, x_max, y_max), as (H, W) bool."""
    x_min, y_min, x_max, y_max = box
    y, x = (np.arange(n) + 0.5 for n in shape)
    return ((y > y_min) & (y < y_max))[:, None] & ((x > x_min) & (x < x_max))[None]


def or_constant(saliency: np.ndarray) -> np.ndarray:
    """
    Return the map, or ones for a map of zeros: it says the same of every pixel, namely nothing.

    So a method whose maps are empty is judged at chance. Leaving such detections out would favour
    it.
    """
    return saliency if saliency.any() else np.ones_like(saliency)


def energy_share(saliency: np.ndarray, region: np.ndarray) -> float:
    """Share of a map's sum inside a region, both (H, W)."""
    saliency = or_constant(saliency).astype(np.float64)
    return float(saliency[region].sum() / saliency.sum())


def peak_share(saliency: np.ndarray, region: np.ndarray) -> float:
    """
    Share of a map's maximal pixels inside a region, both (H, W): 0 or 1 if there is one maximum.
    """
    return float(region[saliency == saliency.max()].mean())
