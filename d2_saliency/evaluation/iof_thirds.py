"""
IOF thirds: does the map of a coordinate lie on its side of the object (ODSmoothGrad, validation)?
"""

from typing import Dict, List

import numpy as np
from scipy.ndimage import gaussian_filter

from ..structures import OUTPUTS
from .build import saliency_metric
from .explained_image import ExplainedImage
from .regions import or_constant

SIGMA = 2.0  # pixels
THRESHOLD = 0.32  # of the map's maximum
COORDINATES = OUTPUTS[1:]
MIDDLES = tuple(f"{name}_middle" for name in COORDINATES)


@saliency_metric(*COORDINATES, *MIDDLES, needs="segmentation", lower=MIDDLES)
def iof_thirds(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    Share of each coordinate map's salient pixels S on the outer third T of the ground-truth mask
    that belongs to it.

        IOF(S, T) = |S and T| / |S|

    Returns:
        for each detection "x_min", "y_min", "x_max", "y_max" and, for comparison, the IOF with the
        middle third, "x_min_middle", ...; all in [0, 1], nan without a mask.
    """
    return [thirds_of_maps(maps[1:], t and t.mask) for maps, t in zip(image.maps, image.truth)]


def thirds_of_maps(maps: np.ndarray, mask) -> Dict[str, float]:
    """
    IOF of the maps (4, H, W) of the coordinates with the thirds of a mask (H, W); nan without one.
    """
    if mask is None or not mask.any():
        return {name: float("nan") for name in COORDINATES + MIDDLES}
    result = {}
    for k, (name, saliency) in enumerate(zip(COORDINATES, maps)):
        salient = salient_pixels(saliency)
        low, middle, high = mask_thirds(mask, axis=1 - k % 2)  # x lies along columns
        result[name] = intersection_over_first(salient, low if k < 2 else high)
        result[f"{name}_middle"] = intersection_over_first(salient, middle)
    return result


def salient_pixels(
    saliency: np.ndarray, sigma: float = SIGMA, threshold: float = THRESHOLD
) -> np.ndarray:
    """
    Find where a map (H, W), smoothed by a Gaussian, is at least ``threshold`` of its maximum; all
    of a constant map.
    """
    smooth = gaussian_filter(or_constant(saliency).astype(np.float64), sigma)
    return smooth >= threshold * smooth.max()


def mask_thirds(mask: np.ndarray, axis: int) -> List[np.ndarray]:
    """
    A mask (H, W) cut into three parts of equal extent along an axis: 0 for y, 1 for x. Pixels go by
    their centre.
    """
    occupied = np.flatnonzero(mask.any(axis=1 - axis))
    first, extent = occupied[0], occupied[-1] + 1 - occupied[0]
    part = np.floor((np.arange(mask.shape[axis]) + 0.5 - first) / extent * 3)
    return [mask & np.expand_dims(part == k, 1 - axis) for k in range(3)]


def intersection_over_first(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / first.sum())
