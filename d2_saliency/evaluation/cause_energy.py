"""Cause energy, for scenes whose causes are known: does a map lie on what decided the output?"""

import math
from typing import Dict, List, Optional, Sequence

import numpy as np

from ..data import edge_strips
from ..structures import OUTPUTS
from .annotations import decode_mask
from .build import saliency_metric
from .explained_image import ExplainedImage
from .regions import box_pixels, energy_share, or_constant, peak_share

# Shape shorthand: H, W the image. Maps are non-negative and aligned with the image.


def class_cause_energy(
    saliency: np.ndarray, box: Sequence[float], emblem: np.ndarray
) -> Dict[str, float]:
    """
    Measure how a class map relates to the emblem that decides the class.

        times_chance = (E(emblem in box) / E(box)) / (|emblem in box| / |box|)     E: sum of the map
        in_box       = E(box) / E(image)
        pointing     = share of the map's maximal pixels on the emblem: 0 or 1 if one is maximal

    Args:
        saliency: (H, W).
        box: (x_min, y_min, x_max, y_max), pixels.
        emblem: (H, W) bool.

    Returns:
        dict: the three numbers, those of a constant map for a map of zeros; ``times_chance`` is nan
        where the box has no energy or no pixel of the emblem.
    """
    inside = box_pixels(box, saliency.shape)
    on_emblem = inside & emblem
    shown = or_constant(saliency)
    share = _ratio(shown[on_emblem].sum(), shown[inside].sum())
    return {
        "times_chance": _ratio(share, _ratio(on_emblem.sum(), inside.sum())),
        "in_box": energy_share(saliency, inside),
        "pointing": peak_share(saliency, emblem),
    }


def edge_cause_energy(maps: np.ndarray, box: Sequence[float]) -> Dict[str, float]:
    """
    Measure how far the four coordinate maps lean to their own edge: sum on the own edge's strip
    over sum on the opposite one.

    Args:
        maps: (4, H, W), for x_min, y_min, x_max, y_max.
        box: the same four numbers, pixels.

    Returns:
        dict: coordinate -> own / opposite, nan where the opposite strip has no energy; and
        "own_share", the mean over the coordinates of own / (own + opposite): 0.5 by chance, 1 for a
        perfect map, where the ratio is not defined.
    """
    strips = edge_strips(box, *maps.shape[-2:])
    energy = [[or_constant(m)[strip].sum(dtype=np.float64) for strip in strips] for m in maps]
    pairs = [(energy[k][k], energy[k][(k + 2) % 4]) for k in range(4)]
    shares = [_ratio(own, own + opposite) for own, opposite in pairs]
    ratios = {name: _ratio(own, opposite) for name, (own, opposite) in zip(OUTPUTS[1:], pairs)}
    return {**ratios, "own_share": float(np.mean([0.5 if math.isnan(s) else s for s in shares]))}


@saliency_metric(
    "times_chance", "pointing", "in_box", "mark", "own_share", *OUTPUTS[1:], needs="emblem"
)
def cause_energy(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    :func:`class_cause_energy` and :func:`edge_cause_energy` of detections on scenes whose causes
    are known.

    Returns:
        for each detection their numbers, and "mark", the share of the class map's sum on the
        object's shortcut mark; nan where the detection is of no object, or the object has no mark.
    """
    boxes = image.instances.pred_boxes.tensor.tolist()
    return [
        _energies(m, box, t.annotation if t else None)
        for m, box, t in zip(image.maps, boxes, image.truth)
    ]


def _energies(
    maps: np.ndarray, box: Sequence[float], annotation: Optional[Dict]
) -> Dict[str, float]:
    undefined = dict.fromkeys(("times_chance", "in_box", "pointing", "mark"), float("nan"))
    edges = edge_cause_energy(maps[1:], box)
    if annotation is None:
        return {**undefined, **edges}
    emblem, mark = (
        decode_mask(annotation.get(key), *maps.shape[-2:]) for key in ("emblem", "shortcut")
    )
    values = class_cause_energy(maps[0], box, emblem)  # type: ignore[arg-type]  # every object has an emblem
    return {
        **undefined,
        **values,
        **edges,
        **({} if mark is None else {"mark": energy_share(maps[0], mark)}),
    }


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
