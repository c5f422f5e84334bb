"""Gradients to pixels: ODSmoothGrad beside captum and plain autograd, with the floor that no such method goes below."""

from typing import Dict, List

import torch
from torch import Tensor

from d2_saliency.modeling.optimize import folded, frozen_parameters

from .detector import Bench, Stopwatch, detect
from .measure import Measure, agreement

STOCK = "stock inference"
NUM_SAMPLES = 20
FAST = {
    "ODSmoothGrad, FOLD_NORMS off": {"fold_norms": False},
    "ODSmoothGrad": {},
    "ODSmoothGrad, AUTOCAST": {"autocast": True},
}
"""The exact ways, and one that works on a model with random weights, too: WINDOW "auto" needs a trained one."""


def stock(bench: Bench) -> Measure:
    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            detect(bench.stock, bench.inputs)
        return watch.seconds

    return measure


def od_smoothgrad(bench: Bench, num_detections: int, **options) -> Measure:
    """
    One of the 20 noise passes is measured, with all outputs of all detections; detecting is counted 20 times, too.

    A detection that is not found again is explained in the clean image, so every one costs five backwards.
    """
    model = bench.ours("ODSmoothGrad", num_detections, num_samples=1, **options)

    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            detect(model, bench.inputs)
        return watch.seconds * NUM_SAMPLES

    return measure


def floor(bench: Bench, num_detections: int, fold: bool = True) -> Measure:
    """One forward a pass, and nothing but a backward through the backbone for each output and detection."""
    model = bench.ours("ODSmoothGrad")
    model = folded(model) if fold else model

    def measure() -> float:
        forward, backward = Stopwatch(), Stopwatch()
        image = bench.inputs["image"].clone().requires_grad_()
        with frozen_parameters(model):
            with forward.running():
                level = model.backbone(model.preprocess_image([{"image": image}]).tensor)["p2"]
            with backward.running():
                torch.autograd.grad(level, image, torch.ones_like(level))
        return NUM_SAMPLES * (forward.seconds + backward.seconds * 5 * num_detections)

    return measure


def fast_maps(bench: Bench, num_samples: int, num_detections: int) -> Dict[str, Tensor]:
    """Maps (N, 5, H, W) of each way to compute ODSmoothGrad, with the same noise."""
    maps = {}
    for name, options in FAST.items():
        model = bench.ours("ODSmoothGrad", num_detections, num_samples=num_samples, match="index", **options)
        found = detect(model, bench.inputs)[0]["instances"]
        found = found[found.pred_saliency.explained]
        maps[name] = torch.stack(found.pred_saliency.maps)
    return maps


def loss_of_fast_ways(bench: Bench) -> str:
    """What the switches change: the smallest rank correlation with the exact maps of 3 detections x 5, two passes."""
    maps = fast_maps(bench, 2, 3)
    exact = maps.pop("ODSmoothGrad, FOLD_NORMS off").flatten(0, 1)
    lines = ["| switch | smallest Spearman | largest change of a pixel, of the map's peak |", "|---|---|---|"]
    for name, m in maps.items():
        m = m.flatten(0, 1)
        rho: List[float] = [agreement(a, b) for a, b in zip(m, exact)]
        change = ((m - exact).abs().amax((1, 2)) / exact.amax((1, 2))).max()
        lines.append(f"| {name} | {min(rho):.5f} | {100 * float(change):.1f} % |")
    return "\n".join(lines)
