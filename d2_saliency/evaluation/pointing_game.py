"""Pointing game and energy pointing game, for boxes and for masks."""

from typing import Dict, List

import numpy as np

from .build import saliency_metric
from .explained_image import ExplainedImage
from .regions import box_pixels, energy_share, peak_share


@saliency_metric("hit", "energy", needs="bbox")
def pointing_game(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    P(b) and eP(b) of the class map: does it lie in the ground-truth box (SSGrad-CAM++, Table 2)?

        P  = |argmax M and R| / |argmax M|      0 or 1 where the maximum is unique
        eP = sum_R M / sum M                    R: pixels of the box

    Note:
        Of several equal maxima each counts its share, so that the answer does not depend on the
        order of pixels, and a constant map scores what guessing does: the region's share of the
        image. A map of zeros is a constant map.

    Returns:
        for each detection "hit" and "energy", in [0, 1]; nan without ground truth.
    """
    shape = image.instances.image_size
    regions = [t and box_pixels(t.box, shape) for t in image.truth]
    return [_points_at(maps[0], region) for maps, region in zip(image.maps, regions)]


@saliency_metric("hit", "energy", needs="segmentation")
def pointing_game_masks(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    P(m) and eP(m): as :func:`pointing_game`, with the pixels of the ground-truth mask; nan without
    a mask.
    """
    return [_points_at(maps[0], t and t.mask) for maps, t in zip(image.maps, image.truth)]


def _points_at(saliency: np.ndarray, region) -> Dict[str, float]:
    if region is None:
        return {"hit": float("nan"), "energy": float("nan")}
    return {"hit": peak_share(saliency, region), "energy": energy_share(saliency, region)}
