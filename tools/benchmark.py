#!/usr/bin/env python
"""
What explanations cost beside one stock inference: time, in one interleaved run, and peak memory.

A Faster R-CNN R50-FPN with random weights (model-zoo config, 480 x 640 image) detects --num-instances objects. Each
row is the whole call, detection included; "naive" is plain autograd of the stock model to its feature levels, one
backward pass for each detection and output, measured on two detections and scaled to all. Memory is what a call needs
at its peak beyond what stock inference needs at its own; each row has a process to itself, as peaks never fall.

    OMP_NUM_THREADS=2 tools/benchmark.py --num-instances 50 --repeats 5
"""

import argparse
import platform
import re
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Callable, Dict, List

import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model

from d2_saliency import OUTPUTS, add_saliency_config, build_saliency_head, explainable
from d2_saliency.testing import calibrate

METHODS = ["GradCAM", "GradCAMPlusPlus", "SSGradCAM", "SSGradCAMPlusPlus", "ODAM", "HiResCAM", "LayerCAM"]
STOCK, NAIVE = "stock inference", "naive autograd, all detections"


def build_rows(args: argparse.Namespace) -> Dict[str, Callable[[], float]]:
    """For each row of the table a function that makes the call and returns the seconds it took."""
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    add_saliency_config(cfg)
    cfg.MODEL.DEVICE = args.device
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = args.num_instances
    cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = -1.0
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 0
    torch.manual_seed(0)
    stock = build_model(cfg).eval()
    calibrate(stock)
    inputs = {"image": (torch.rand(3, 480, 640) * 255).to(args.device)}
    rows = {STOCK: timed(stock, inputs)}
    for name in args.methods:
        cfg.MODEL.SALIENCY_HEAD.NAME = name
        model = explainable(stock, cfg)
        model.saliency_head = build_saliency_head(cfg)
        rows[name] = timed(model, inputs)
    rows[NAIVE] = naive(stock, inputs, args.num_instances)
    return rows


def timed(model, inputs: Dict) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            model([inputs])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return measure


def naive(model, inputs: Dict, num_instances: int) -> Callable[[], float]:
    """Seconds that plain autograd of the stock model takes for all detections, from those of two."""

    def measure() -> float:
        features = model.backbone(model.preprocess_image([inputs]).tensor)
        leaves = {name: f.detach().requires_grad_() for name, f in features.items()}
        images = model.preprocess_image([inputs])
        proposals, _ = model.proposal_generator(images, leaves, None)
        found, _ = model.roi_heads(images, leaves, proposals)
        start = time.perf_counter()
        for i in range(2):
            outputs = [found[0].scores[i], *found[0].pred_boxes.tensor[i]]
            for y in outputs:
                torch.autograd.grad(y, list(leaves.values()), retain_graph=True, allow_unused=True)
        return (time.perf_counter() - start) / 2 * num_instances

    return measure


def extra_memory(name: str, args: argparse.Namespace) -> float:
    """MB that the call of a row adds to the peak of stock inference; to be run in a process of its own."""
    rows = build_rows(args)
    for _ in range(3):
        rows[STOCK]()
    before = peak_memory(args.device)
    for _ in range(3):
        rows[name]()
    return peak_memory(args.device) - before


def peak_memory(device: str) -> float:
    """MB, of this process so far or of the GPU; nan on a CPU where the system is not Linux."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    # Not ru_maxrss, which a new process inherits from the one that started it.
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024 / 1e6 if status.exists() else float("nan")


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help="rows (default: CAM methods)")
    parser.add_argument("--num-instances", type=int, default=50, help="detections (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    args = parser.parse_args()
    memory: Dict[str, float] = {}
    for name in (STOCK, *args.methods, NAIVE):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            memory[name] = process.submit(extra_memory, name, args).result()
    rows = build_rows(args)
    seconds: Dict[str, List[float]] = {name: [] for name in rows}
    for measure in rows.values():
        measure()  # warm up
    for _ in range(args.repeats):
        for name, measure in rows.items():
            seconds[name].append(measure())
    report(seconds, memory, args)
    return 0


def report(seconds: Dict[str, List[float]], memory: Dict[str, float], args: argparse.Namespace) -> None:
    unit = seconds[STOCK]
    print(
        f"{args.num_instances} detections x {len(OUTPUTS)} outputs, {args.repeats} rounds, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, {platform.machine()}, {args.device}; "
        f"one stock inference: {statistics.median(unit):.3f} s\n"
    )
    print("| what | x stock inference, median | min .. max | MB above its peak |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratios = [v / u for v, u in zip(values, unit)]
        median, span = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} .. {max(ratios):.2f}"
        print(f"| {name} | {median} | {span} | {memory[name]:.0f} |")


if __name__ == "__main__":
    sys.exit(main())
