#!/usr/bin/env python
"""
Compare saliency methods: the same detections, the same perturbed images, paired differences.

Writes to the output folder: comparison.md (tables, differences from the first method), metrics.html
(the same with violins and curves), and for each method <method>/metrics.json and
records/<method>/<image>.json. A run that was stopped goes on where it was, and a method that is
added later is the only one that is computed.

    tools/compare_methods.py --method ODAM GradCAM SSGradCAM --num-images 30
    tools/compare_methods.py --references --num-images 30      what are the metrics worth?
    torchrun --nproc-per-node 8 tools/compare_methods.py --method ODAM DRISE --dataset coco_2017_val
    \\
        --config-file COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml
"""

import argparse
import re
import sys
from pathlib import Path

from arguments import CLASS_TARGETS, add_explainer_arguments, add_launch_arguments
from run_tool import run_tool

# What needs torch is imported in the functions, after the arguments are parsed: --help shall not
# take seconds.

ROOT = Path(__file__).resolve().parents[1]
REFERENCE_MAPS = ROOT / "d2_saliency" / "evaluation" / "reference_maps.py"
REFERENCES = re.findall(r"^class (\w+)", REFERENCE_MAPS.read_text(), re.MULTILINE)
"""Read from the source, as importing it imports torch."""


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set (default: the first of the config's DATASETS.TEST)",
    )
    parser.add_argument(
        "--num-images",
        type=int,
        default=0,
        metavar="N",
        help="the first N images of it only, e.g. 30 (default: all)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="output/comparison",
        help="folder for the results (default: %(default)s)",
    )
    parser.add_argument(
        "--class-targets",
        nargs="+",
        choices=CLASS_TARGETS,
        metavar="TARGET",
        help=f"each method with each of {', '.join(CLASS_TARGETS)} that is named (default: the "
        "config's alone)",
    )
    parser.add_argument(
        "--references",
        action="store_true",
        help=f"also judge {', '.join(REFERENCES)}: maps of known worth, on scenes with known "
        "causes",
    )
    add_launch_arguments(parser)
    add_explainer_arguments(
        parser, str(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"), several_methods=True
    )
    return parser.parse_args()


def compare(args: argparse.Namespace) -> int:
    """Runs in each process. Returns the exit status: 1 if an image failed."""
    from d2_saliency.engine.defaults import setup_cfg, setup_terminal
    from d2_saliency.engine.evaluate import dataset_names, judge_methods
    from d2_saliency.engine.explainer import DefaultExplainer
    from d2_saliency.engine.methods import build_methods, method_cfgs
    from d2_saliency.evaluation import reference_maps

    setup_terminal()
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    cfgs = []
    for target in args.class_targets or [saliency_cfg.MODEL.SALIENCY_HEAD.CLASS_TARGET]:
        ours = saliency_cfg.clone()
        ours.defrost()
        ours.MODEL.SALIENCY_HEAD.CLASS_TARGET = target
        cfgs += method_cfgs(ours, args.method)
    if args.references:
        cfgs += method_cfgs(saliency_cfg, REFERENCES)
    methods = build_methods(cfg, cfgs, explainer.weights, reference_maps.REFERENCES)
    dataset = args.dataset or dataset_names(cfg)[0]
    results = judge_methods(explainer, methods, dataset, saliency_cfg, args.output, args.num_images)
    return int(any(metrics["saliency"]["failed"] for metrics in results.values() if metrics))


def main() -> int:
    args = parse_args()
    return run_tool("compare_methods", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    from d2_saliency.engine.launch import launch

    return launch(compare, args)


if __name__ == "__main__":
    sys.exit(main())
