#!/usr/bin/env python
"""
Check explanations against truth: cause energy on the planted-cause scenes (METHODS section 6).

Prints a Markdown table: how much the class map prefers the emblem that decides the class, and how
far each coordinate map leans to its own edge, as mean [95 % interval] over the detections that
match an object.

    tools/cause_energy.py --config-file configs/demo/retinanet_planted.yaml --methods Gradient ODAM
    tools/cause_energy.py --dataset planted_shortcut_val --only-class 1 --methods ODSmoothGrad
    --class-targets score \\
        --config-file configs/demo/faster_rcnn_shortcut.yaml
"""

import argparse
import itertools
import math
import statistics
import sys
from pathlib import Path
from typing import Iterator, List

import numpy as np
from arguments import add_explainer_arguments
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from d2_saliency import CLASS_TARGETS, OUTPUTS, build_saliency_head
from d2_saliency.engine.defaults import setup_cfg, setup_terminal
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.evaluation import mean_with_interval, planted_cause_energy
from d2_saliency.utils.image_io import read_image

ROOT = Path(__file__).resolve().parents[1]
MEANS = ("times_chance", "pointing", "in_box", "mark", *OUTPUTS[1:])


def measure(args: argparse.Namespace) -> Iterator[str]:
    """The table's rows, one for each method and class target."""
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    heads = {
        pair: _head(saliency_cfg, *pair)
        for pair in itertools.product(args.methods, args.class_targets)
    }
    records = {pair: [] for pair in heads}
    for scene in tqdm(
        DatasetCatalog.get(args.dataset)[: args.num_images], desc="scenes", unit="image"
    ):
        image = read_image(scene["file_name"])
        for pair, explainer.model.saliency_head in heads.items():
            records[pair] += planted_cause_energy(
                explainer(image)["instances"], scene["annotations"]
            )
    for (method, class_target), found in records.items():
        if args.only_class >= 0:
            found = [r for r in found if r["class_id"] == args.only_class]
        row = [Path(config_file).stem, method, class_target, len(found), _summary(found)]
        yield f"| {' | '.join(map(str, row))} |"


def _head(saliency_cfg, method: str, class_target: str):
    cfg = saliency_cfg.clone()
    cfg.defrost()
    cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.SALIENCY_HEAD.CLASS_TARGET = method, class_target
    return build_saliency_head(cfg)


def _summary(records: List[dict]) -> str:
    for record in records:
        ratios = np.array([record[name] for name in OUTPUTS[1:]])
        record["own/opposite"] = (
            float("nan") if np.isnan(ratios).all() else float(np.nanmedian(ratios))
        )
    median = statistics.median(
        [r["own/opposite"] for r in records if not math.isnan(r["own/opposite"])] or [math.nan]
    )
    means = [mean_with_interval([r[name] for r in records]) for name in MEANS]
    return " | ".join([*map(str, means), f"{median:.2f}"])


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--dataset", default="planted_val", help="planted split (default: %(default)s)"
    )
    parser.add_argument(
        "--num-images", type=int, default=100, help="first scenes of it (default: %(default)s)"
    )
    parser.add_argument(
        "--only-class", type=int, default=-1, metavar="K", help="detections of class K only"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["Gradient"],
        metavar="NAME",
        help="rows (default: Gradient)",
    )
    parser.add_argument(
        "--class-targets",
        nargs="+",
        default=list(CLASS_TARGETS),
        choices=CLASS_TARGETS,
        help="rows (default: all)",
    )
    add_explainer_arguments(parser, str(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"))
    args = parser.parse_args()
    setup_terminal()
    print(
        "| detector | method | class target | n | "
        + " | ".join(MEANS)
        + " | own/opposite, median |"
    )
    print("|---" * (len(MEANS) + 5) + "|")
    for row in measure(args):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
