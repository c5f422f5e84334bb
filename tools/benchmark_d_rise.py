#!/usr/bin/env python
"""
Speed and memory of D-RISE.

Masks per second beside xaitk-saliency's D-RISE, on the bundled RetinaNet and one bundled scene, in one interleaved
run. xaitk-saliency sees the detections above the detector's own score threshold; so does the row "Instances".
Then peak memory for different numbers of masks, each in a process of its own.

    pip install xaitk-saliency
    OMP_NUM_THREADS=2 tools/benchmark_d_rise.py --num-masks 100 --repeats 5
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, List

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from smqtk_detection import DetectImageObjects
from smqtk_image_io import AxisAlignedBoundingBox
from xaitk_saliency.impls.gen_object_detector_blackbox_sal.drise import DRISEStack

from d2_saliency import BlackBox, add_saliency_config, explainable
from d2_saliency.engine.image_io import read_image
from d2_saliency.modeling.meta_arch.build import as_generic
from d2_saliency.modeling.saliency_heads import DRISE

ROOT = Path(__file__).resolve().parents[1]


class PeerDetector(DetectImageObjects):
    """The model as xaitk-saliency wants a detector: images (H, W, 3) in, boxes with a score for each class out."""

    def __init__(self, model: torch.nn.Module, num_classes: int):
        self.model, self.num_classes = model, num_classes

    def detect_objects(self, img_iter: Iterable[np.ndarray]) -> Iterable:
        for image in img_iter:
            with torch.no_grad():
                (result,) = self.model([{"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}])
            found = result["instances"]
            values = zip(found.pred_boxes.tensor.numpy(), found.pred_classes.tolist(), found.scores.tolist())
            yield [
                (AxisAlignedBoundingBox(box[:2], box[2:]), {k: s * (k == label) for k in range(self.num_classes)})
                for box, label, s in values
            ]

    def get_config(self) -> dict:
        return {}


def speed(num_masks: int, repeats: int) -> None:
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "demo" / "retinanet_planted.yaml"))
    stock = build_model(cfg).eval()
    DetectionCheckpointer(stock).load(str(ROOT / cfg.MODEL.WEIGHTS))
    shown = read_image(ROOT / "demo" / "images" / "planted_0009.png")
    inputs = {"image": torch.from_numpy(shown.transpose(2, 0, 1).copy()).float()}
    with torch.no_grad():
        found = stock([inputs])[0]["instances"]
    found = found[found.scores > 0.5]
    boxes, one_hot = found.pred_boxes.tensor.numpy(), np.eye(stock.num_classes)[found.pred_classes.numpy()]
    peer, detector = DRISEStack(num_masks, 16, 0.5, seed=0, threads=0), PeerDetector(stock, stock.num_classes)
    rows = {"xaitk-saliency": lambda: peer(shown, boxes, one_hot, detector, found.scores.numpy())}
    options = dict(num_masks=num_masks, estimator="mean", score_thresh=0.5)
    for name, model, head in (
        ("ours, Instances", as_generic(stock), DRISE(**options)),
        ("ours, all raw outputs", explainable(stock), DRISE(**options)),
        ("ours, all raw outputs, AUTOCAST", explainable(stock), DRISE(**options, autocast=True)),
    ):
        model.saliency_head = head
        rows[name] = partial(_explain, model, inputs)
    rates = _interleaved(rows, num_masks, repeats)
    print(
        f"{len(found)} detections, {num_masks} masks of {shown.shape[0]} x {shown.shape[1]} pixels, {repeats} rounds\n"
    )
    print("| D-RISE | masks / s, median | x xaitk-saliency, median | min .. max |\n|---|---|---|---|")
    for name, values in rates.items():
        ratios = [v / u for v, u in zip(values, rates["xaitk-saliency"])]
        spread = f"{min(ratios):.2f} .. {max(ratios):.2f}"
        print(f"| {name} | {statistics.median(values):.1f} | {statistics.median(ratios):.2f} | {spread} |")


def _explain(model: torch.nn.Module, inputs: Dict) -> None:
    with torch.no_grad():
        model([inputs])


def _interleaved(rows: Dict[str, Callable], num_masks: int, repeats: int) -> Dict[str, List[float]]:
    rates: Dict[str, List[float]] = {name: [] for name in rows}
    for k in range(repeats + 1):
        for name, call in rows.items():
            start = time.perf_counter()
            call()
            if k:  # the first round is to warm up
                rates[name].append(num_masks / (time.perf_counter() - start))
    return rates


def peak_memory(num_masks: int) -> float:
    """MB that explaining 10 objects of a trivial detector at 480 x 640 adds to the memory of its process."""
    boxes = torch.tensor([[20.0 + 60 * i, 40, 70 + 60 * i, 440] for i in range(10)])

    def detect(images: List[np.ndarray]) -> List[Instances]:
        return [
            Instances(
                image.shape[:2],
                pred_boxes=Boxes(boxes),
                scores=torch.tensor([image[60:420:8, int(x0) : int(x1) : 8].mean() / 255 for x0, _, x1, _ in boxes]),
                pred_classes=torch.arange(len(boxes)),
            )
            for image in images
        ]

    model = explainable(BlackBox(detect))
    model.saliency_head = DRISE(num_masks=num_masks, score_thresh=0.0, estimator="mean")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _explain(model, {"image": torch.rand(3, 480, 640) * 255})
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--num-masks", type=int, default=100, help="of each round (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="interleaved rounds; 0: memory only (default: %(default)s)"
    )
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[500, 5000], metavar="N", help="numbers of masks (default: 500 5000)"
    )
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if args.repeats:
        speed(args.num_masks, args.repeats)
    for num_masks in args.memory:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"peak memory for {num_masks} masks: + {pool.apply(peak_memory, (num_masks,)):.0f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
