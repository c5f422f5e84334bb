#!/usr/bin/env python
"""
Measure every method on the planted-cause scenes, whose causes are known, and print the tables.

Runs the metric cause_energy for the bundled detectors. A run that was stopped goes on where it
was. Docs: docs/planted_causes.md says what the columns mean.

    tools/planted_causes.py --work-dir output/planted_causes     # about an hour on one core
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

from detectron2.config import get_cfg

from d2_saliency import CLASS_TARGETS, DefaultExplainer, add_saliency_config
from d2_saliency.engine.defaults import setup_terminal
from d2_saliency.engine.evaluate import judge_methods
from d2_saliency.engine.methods import build_methods, method_cfgs
from d2_saliency.evaluation import Estimate
from d2_saliency.utils.bundled import bundled

DATA_SET = "planted_val"
CAMS = ("GradCAM GradCAMPlusPlus SSGradCAM SSGradCAMPlusPlus ODAM HiResCAM LayerCAM").split()
COLUMNS = ("times_chance", "pointing", "in_box", "own_share")


class Job(NamedTuple):
    """Methods that are measured on the first scenes, with each of the class targets."""

    detectors: Sequence[str]
    methods: Sequence[str]
    targets: Sequence[str]
    num_scenes: int


FIRST = ("faster_rcnn_planted", "retinanet_planted")
OTHERS = ("mask_rcnn_planted", "cascade_rcnn_planted", "faster_rcnn_c4_planted", "fcos_planted")
JOBS = (
    Job(FIRST, CAMS, CLASS_TARGETS, 100),
    Job(OTHERS, ("SSGradCAMPlusPlus", "ODAM"), ("contrast",), 100),
    Job(FIRST, ("Gradient", "GuidedBackprop", "GuidedGradCAM"), CLASS_TARGETS, 30),
    Job((*FIRST, *OTHERS), ("DRISE",), ("contrast",), 5),
    Job(FIRST, ("ODSmoothGrad", "IntegratedGradients", "SmoothGradCAMPlusPlus"), ("contrast",), 20),
    Job(OTHERS, ("ODSmoothGrad",), ("contrast",), 10),
)


def measure(job: Job, detector: str, work_dir: Path) -> Iterator[List[str]]:
    """A row of cells for each method and class target."""
    config_file = str(bundled("configs") / "demo" / f"{detector}.yaml")
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.TEST.SALIENCY.METRICS = ["cause_energy"]
    explainer = DefaultExplainer(cfg, config_file=config_file)
    cfgs = []
    for target in job.targets:
        cfg.MODEL.SALIENCY_HEAD.CLASS_TARGET = target
        cfgs += method_cfgs(cfg, job.methods)
    methods = build_methods(cfg, cfgs, explainer.weights)
    folder = work_dir / f"{detector}_{job.num_scenes}"
    results = judge_methods(explainer, methods, DATA_SET, cfg, folder, job.num_scenes)
    for method in methods:
        found = results[method.name]["cause_energy"]
        cells = [str(_estimate(found, name)) for name in COLUMNS]
        count = str(int(found["times_chance-count"]))
        target = method.run["class_target"]
        yield [detector, f"`{method.run['method']}`", target, count, *cells]


def _estimate(found: Dict[str, float], name: str) -> Estimate:
    low, high, count = (found[f"{name}-{key}"] for key in ("low", "high", "count"))
    return Estimate(found[name], low, high, int(count))


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("output/planted_causes"),
        metavar="DIR",
        help="for records, so that a run can go on (default: %(default)s)",
    )
    args = parser.parse_args()
    setup_terminal()
    header = ["detector", "method", "class target", "n", *COLUMNS]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for job in JOBS:
        for detector in job.detectors:
            for row in measure(job, detector, args.work_dir):
                print(f"| {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
