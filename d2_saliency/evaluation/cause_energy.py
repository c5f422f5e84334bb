"""Cause energy: does a map lie on what decided the output? For scenes whose causes are known (METHODS section 6)."""

from typing import Dict, List, Sequence

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from pycocotools import mask as coco_mask

from ..data import edge_strips
from ..structures import OUTPUTS

# Shape shorthand: H, W the image. Maps are non-negative and aligned with the image.


def class_cause_energy(saliency: np.ndarray, box: Sequence[float], emblem: np.ndarray) -> Dict[str, float]:
    """
    How a class map relates to the emblem that decides the class.

        times_chance = (E(emblem in box) / E(box)) / (|emblem in box| / |box|)     E: sum of the map
        in_box       = E(box) / E(image)
        pointing     = 1 if the map's maximum lies on the emblem

    Args:
        saliency: (H, W).
        box: (x_min, y_min, x_max, y_max), pixels.
        emblem: (H, W) bool.

    Returns:
        dict: the three numbers; nan where a denominator is 0 (an empty map, or no pixel of the emblem in the box).
    """
    inside = _box_mask(box, saliency.shape)
    on_emblem = inside & emblem
    share = _ratio(saliency[on_emblem].sum(), saliency[inside].sum())
    peak = np.unravel_index(saliency.argmax(), saliency.shape)  # (row, column)
    return {
        "times_chance": _ratio(share, _ratio(on_emblem.sum(), inside.sum())),
        "in_box": _ratio(saliency[inside].sum(), saliency.sum()),
        "pointing": float(emblem[peak]) if saliency.any() else float("nan"),
    }


def edge_cause_energy(maps: np.ndarray, box: Sequence[float]) -> Dict[str, float]:
    """
    How far the four coordinate maps lean to their own edge: sum on the own edge's strip over sum on the opposite one.

    Args:
        maps: (4, H, W), for x_min, y_min, x_max, y_max.
        box: the same four numbers, pixels.

    Returns:
        dict: coordinate -> own / opposite; nan where the opposite strip has no energy.
    """
    strips = edge_strips(box, *maps.shape[-2:])
    opposite = strips[[2, 3, 0, 1]]
    names = OUTPUTS[1:]
    return {n: _ratio(m[own].sum(), m[other].sum()) for n, m, own, other in zip(names, maps, strips, opposite)}


def region_energy(saliency: np.ndarray, region: np.ndarray) -> float:
    """Share of a map's sum inside a region, both (H, W); nan for an empty map."""
    return _ratio(saliency[region].sum(), saliency.sum())


def planted_cause_energy(instances: Instances, annotations: List[Dict], iou_thresh: float = 0.5) -> List[Dict]:
    """
    Cause energy of all explained detections of a planted-cause scene that match an object of their class.

    Args:
        instances: detections in coordinates of the scene, with ``pred_saliency``.
        annotations: the scene's annotations, from the planted splits.
        iou_thresh: a detection matches an object of its class with IoU above this, the best one.

    Returns:
        list[dict]: one record per matched detection: ``class_id``, the numbers of :func:`class_cause_energy` and
        :func:`edge_cause_energy`, and ``mark``, the share of the class map's sum on the object's shortcut mark
        (nan where it has none).
    """
    height, width = instances.image_size
    instances = instances[instances.pred_saliency.explained]
    truth = Boxes(torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).reshape(-1, 4))
    iou = pairwise_iou(instances.pred_boxes, truth)
    classes = torch.tensor([a["category_id"] for a in annotations])
    iou[instances.pred_classes[:, None] != classes[None]] = 0
    maps = instances.pred_saliency.resize(height, width).numpy()
    records = []
    for i, m in enumerate(maps):
        if not annotations or iou[i].max() <= iou_thresh:
            continue
        annotation = annotations[int(iou[i].argmax())]
        box = instances.pred_boxes.tensor[i].tolist()
        mark = coco_mask.decode(annotation["shortcut"]).astype(bool) if "shortcut" in annotation else None
        records.append(
            {
                "class_id": int(instances.pred_classes[i]),
                **class_cause_energy(m[0], box, coco_mask.decode(annotation["emblem"]).astype(bool)),
                **edge_cause_energy(m[1:], box),
                "mark": region_energy(m[0], mark) if mark is not None else float("nan"),
            }
        )
    return records


def _box_mask(box: Sequence[float], shape) -> np.ndarray:
    """Pixels whose centre lies in the box."""
    x_min, y_min, x_max, y_max = box
    y, x = (np.arange(n) + 0.5 for n in shape)
    return ((y > y_min) & (y < y_max))[:, None] & ((x > x_min) & (x < x_max))[None]


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
