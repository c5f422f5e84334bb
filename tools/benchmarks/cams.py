"""
CAM maps of all detections beside pytorch-grad-cam and ODAM's published way: the calls, and whether
maps agree.
"""

from typing import Dict

import torch

from .detector import Bench, Stopwatch, detect
from .measure import Measure, agreement

METHODS = [
    "GradCAM",
    "GradCAMPlusPlus",
    "SSGradCAM",
    "SSGradCAMPlusPlus",
    "ODAM",
    "HiResCAM",
    "LayerCAM",
]


def our_cam(bench: Bench, method: str, num_detections: int) -> Measure:
    """The whole call, detection included."""
    model = bench.ours(method, num_detections)

    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            detect(model, bench.inputs)
        return watch.seconds

    return measure


def our_maps(bench: Bench, method: str, num_detections: int, **options):
    """
    The explained detections, best scores first, each with the pyramid level that its maps are of.
    """
    model = bench.ours(method, num_detections, **options)
    with torch.no_grad():
        clean = model.run([bench.inputs])
    found = detect(model, bench.inputs)[0]["instances"]
    windows = model.feature_gradients(clean, "score")[0]
    levels = [parts[0].level for _, parts in zip(range(num_detections), windows)]
    return found[found.pred_saliency.explained], levels


def grad_cam_agreement(bench: Bench) -> float:
    """
    Spearman of our Grad-CAM and pytorch-grad-cam's: the class map of the best detection, cell by
    cell.
    """
    from .peers import grad_cam_map

    found, levels = our_maps(bench, "GradCAM", 1)
    return agreement(found.pred_saliency.maps[0][0], grad_cam_map(bench, 0, levels[0]))


def odam_agreement(bench: Bench) -> Dict[str, float]:
    """
    Spearman of our ODAM and the published way, both without Gaussian, for the best detection's
    class and x_max.
    """
    from .peers import odam_map, odam_outputs

    found, names = our_maps(bench, "ODAM", 1, smooth_sigma=0.0, coord_sign="positive")
    m, region = found.pred_saliency.maps[0], found.pred_saliency.regions[0]
    levels, theirs = odam_outputs(bench)
    cell = bench.inputs["image"].shape[-1] / levels[names[0]].shape[-1]
    left, top = (region[:2] / cell).round().long().tolist()
    result = {}
    for k, value in {0: theirs.scores[0], 3: theirs.pred_boxes.tensor[0, 2]}.items():
        expected = odam_map(levels, value, names[0])
        whole = torch.zeros_like(expected)
        whole[top : top + m.shape[1], left : left + m.shape[2]] = m[k]
        result["class" if k == 0 else "x_max"] = agreement(whole, expected)
    return result
