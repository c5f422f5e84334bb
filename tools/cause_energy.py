#!/usr/bin/env python
"""
Check explanations against truth: cause energy on the planted-cause scenes (METHODS section 6).

Prints one row of a Markdown table: how much the class map prefers the emblem that decides the class, and how far
each coordinate map leans to its own edge, as mean [95 % interval] over the matched detections.

    tools/cause_energy.py --config-file configs/demo/retinanet_planted.yaml --method Gradient --class-target contrast
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from d2_saliency.engine.defaults import add_explainer_arguments, setup_cfg
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.engine.image_io import read_image
from d2_saliency.evaluation import mean_with_interval, planted_cause_energy
from d2_saliency.structures import OUTPUTS

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (*OUTPUTS[1:], "own/opposite", "times_chance", "pointing", "in_box", "mark")


def measure(args: argparse.Namespace) -> str:
    """The table row for the configuration that the arguments describe."""
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file)
    scenes = DatasetCatalog.get(args.dataset)[: args.num_images]
    records = []
    for scene in tqdm(scenes, desc="scenes"):
        instances = explainer(read_image(scene["file_name"]))["instances"]
        records += planted_cause_energy(instances, scene["annotations"])
    for record in records:
        ratios = np.array([record[name] for name in OUTPUTS[1:]])
        record["own/opposite"] = float("nan") if np.isnan(ratios).all() else float(np.nanmean(ratios))
    if args.only_class >= 0:
        records = [r for r in records if r["class_id"] == args.only_class]
    values = [mean_with_interval([r[name] for r in records]) for name in COLUMNS]
    head = saliency_cfg.MODEL.SALIENCY_HEAD
    name = f"{Path(config_file).stem} | {head.NAME} | {head.CLASS_TARGET} | {len(records)}"
    median = np.nanmedian([r["own/opposite"] for r in records]) if records else math.nan
    return " | ".join([f"| {name}", *map(str, values), f"{median:.2f} |"])


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--dataset", default="planted_val", help="planted split (default: %(default)s)")
    parser.add_argument("--num-images", type=int, default=100, help="first scenes of it (default: %(default)s)")
    parser.add_argument("--only-class", type=int, default=-1, metavar="K", help="detections of class K only")
    add_explainer_arguments(parser, str(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"))
    args = parser.parse_args()
    setup_logger(name="d2_saliency")
    row = measure(args)
    print("| detector | method | class target | n | " + " | ".join(COLUMNS) + " | own/opposite, median |")
    print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
