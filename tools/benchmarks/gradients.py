"""
Gradients to pixels: ODSmoothGrad beside captum and plain autograd, with the floor that no such
method goes below.
"""

from typing import Any, Dict

import torch
from torch import Tensor

from d2_saliency.modeling.folding import folded
from d2_saliency.modeling.optimize import frozen_parameters

from .detector import Bench, Stopwatch, detect
from .measure import Measure, agreement

STOCK = "stock inference"
NUM_SAMPLES = 20
PLAIN = {"fold_norms": False, "skip_zeros": False}
FAST: Dict[str, Dict[str, Any]] = {
    "ODSmoothGrad, FOLD_NORMS and SKIP_ZEROS off": PLAIN,
    "ODSmoothGrad, SKIP_ZEROS off": {"skip_zeros": False},
    "ODSmoothGrad": {},
    "ODSmoothGrad, AUTOCAST": {"autocast": True},
}
WINDOWED: Dict[str, Dict[str, Any]] = {
    "ODSmoothGrad, WINDOW auto": {"window": "auto"},
    "ODSmoothGrad, WINDOW auto, AUTOCAST": {"window": "auto", "autocast": True},
}


def stock(bench: Bench) -> Measure:
    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            detect(bench.stock, bench.inputs)
        return watch.seconds

    return measure


def od_smoothgrad(bench: Bench, num_detections: int, **options) -> Measure:
    """
    One of the 20 noise passes is measured, with all outputs of all detections; detecting is counted
    20 times, too.

    A detection that is not found again is explained in the clean image, so every one costs five
    backwards.
    """
    model = bench.ours("ODSmoothGrad", num_detections, num_samples=1, **options)

    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            detect(model, bench.inputs)
        return watch.seconds * NUM_SAMPLES

    return measure


def windowed(bench: Bench, num_detections: int, measured: int = 2, **options) -> Measure:
    """
    All 20 noise passes of ``measured`` of the detections, scaled to all: each has a window of its
    own. The inference that detects them is counted once.

    Any detection of the class counts as found again: those of random weights move, and a pass
    without costs nothing.
    """
    model = bench.ours(
        "ODSmoothGrad", measured, num_samples=NUM_SAMPLES, iou_thresh=-1.0, **options
    )

    def measure() -> float:
        shared, whole = Stopwatch(), Stopwatch()
        with shared.running():
            detect(bench.stock, bench.inputs)
        with whole.running():
            detect(model, bench.inputs)
        return shared.seconds + (whole.seconds - shared.seconds) * num_detections / measured

    return measure


def floor(bench: Bench, num_detections: int, fold: bool = True) -> Measure:
    """
    One forward a pass, and nothing but a backward through the backbone for each output and
    detection.
    """
    model = bench.ours("ODSmoothGrad")
    model = folded(model, bench.inputs) if fold else model

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


def loss_of_fast_ways(
    bench: Bench, ways: Dict[str, Dict[str, Any]], num_detections: int, **options
) -> str:
    """
    A table of what switches change: the smallest rank correlation with the maps of the plain way,
    same noise.
    """
    exact = _maps(bench, num_detections, **{**options, **PLAIN})
    lines = [
        "| switches | smallest Spearman | largest change of a pixel, of the map's peak |",
        "|---|---|---|",
    ]
    for name, way in ways.items():
        m = _maps(bench, num_detections, **{**options, **way})
        rho = [agreement(a, b) for a, b in zip(m, exact)]
        change = ((m - exact).abs().amax((1, 2)) / exact.amax((1, 2))).max()
        lines.append(f"| {name} | {min(rho):.5f} | {100 * float(change):.1f} % |")
    return "\n".join(lines)


def _maps(bench: Bench, num_detections: int, **options) -> Tensor:
    """The five maps of N detections, (5 N, H, W)."""
    model = bench.ours("ODSmoothGrad", num_detections, **options)
    found = detect(model, bench.inputs)[0]["instances"]
    found = found[found.pred_saliency.explained]
    if int(found.num_matched.min()) < model.saliency_head.num_samples:
        raise RuntimeError(
            "A detection is not found again under the benchmark's noise: lower its SIGMA."
        )
    return torch.cat(found.pred_saliency.maps)
