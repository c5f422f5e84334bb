#!/usr/bin/env python
"""
What explanations cost, in units of one stock inference, measured side by side in one interleaved run.

A Faster R-CNN R50-FPN with random weights (model-zoo config, 480 x 640 image) detects --num-instances objects. Each
row is the whole call, detection included; "naive" is plain autograd of the stock model to its feature levels, one
backward pass for each detection and output, measured on two detections and scaled to all.

    OMP_NUM_THREADS=2 tools/benchmark.py --num-instances 50 --repeats 5
"""

import argparse
import platform
import resource
import statistics
import sys
import time
from typing import Callable, Dict, List

import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model

from d2_saliency import OUTPUTS, add_saliency_config, build_saliency_head, explainable
from d2_saliency.testing import calibrate

METHODS = ["GradCAM", "GradCAMPlusPlus", "SSGradCAM", "SSGradCAMPlusPlus", "ODAM", "HiResCAM", "LayerCAM"]


def build(args: argparse.Namespace):
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    add_saliency_config(cfg)
    cfg.MODEL.DEVICE = args.device
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = args.num_instances
    cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = -1.0
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 0
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    calibrate(model)
    return cfg, model, {"image": (torch.rand(3, 480, 640) * 255).to(args.device)}


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


def timed(call: Callable) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return measure


def peak_memory(device: str) -> float:
    """MB, of this process so far (or of the GPU)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help="rows (default: CAM methods)")
    parser.add_argument("--num-instances", type=int, default=50, help="detections (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    args = parser.parse_args()
    cfg, stock, inputs = build(args)
    rows: Dict[str, Callable[[], float]] = {"stock inference": timed(lambda: _inference(stock, inputs))}
    for name in args.methods:
        cfg.MODEL.SALIENCY_HEAD.NAME = name
        model = explainable(stock, cfg)
        model.saliency_head = build_saliency_head(cfg)
        rows[name] = timed(lambda model=model: _inference(model, inputs))
    rows["naive autograd, all detections"] = naive(stock, inputs, args.num_instances)
    memory = {}
    seconds: Dict[str, List[float]] = {name: [] for name in rows}
    for measure in rows.values():
        measure()  # warm up
    for _ in range(args.repeats):
        for name, measure in rows.items():
            seconds[name].append(measure())
            memory.setdefault(name, peak_memory(args.device))
    report(seconds, memory, args)
    return 0


def _inference(model, inputs: Dict):
    with torch.no_grad():
        return model([inputs])


def report(seconds: Dict[str, List[float]], memory: Dict[str, float], args: argparse.Namespace) -> None:
    unit = seconds["stock inference"]
    print(
        f"{args.num_instances} detections x {len(OUTPUTS)} outputs, {args.repeats} rounds, {torch.get_num_threads()} "
    )
    print(f"threads, torch {torch.__version__}, {platform.machine()}, {args.device}")
    print(f"one stock inference: {statistics.median(unit):.3f} s; process peak {memory[list(memory)[-1]]:.0f} MB\n")
    print("| what | x stock inference, median | min .. max |\n|---|---|---|")
    for name, values in seconds.items():
        ratios = [v / u for v, u in zip(values, unit)]
        print(f"| {name} | {statistics.median(ratios):.2f} | {min(ratios):.2f} .. {max(ratios):.2f} |")


if __name__ == "__main__":
    sys.exit(main())
