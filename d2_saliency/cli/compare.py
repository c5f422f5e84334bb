"""
Compare saliency methods: the same detections, the same perturbed images, paired differences.

Writes to the output folder: comparison.md (tables, differences from the first method), metrics.html
(the same with violins and curves), and for each method <method>/metrics.json and
records/<method>/<image>.json. A run that was stopped goes on where it was, and a method that is
added later is the only one that is computed.
"""

import argparse

from ..keys import CLASS_TARGETS
from ..methods import REFERENCES
from .arguments import add_data_set_arguments, add_explainer_arguments

SUMMARY = "compare methods on the same detections of a data set"
RESUMES = True
EXAMPLES = """
examples:
  d2-saliency compare --method ODAM GradCAM SSGradCAM --num-images 30
  d2-saliency compare --references --num-images 30       what are the metrics worth?
  d2-saliency compare --method ODAM --class-targets score contrast
  torchrun --nproc-per-node 8 -m d2_saliency.cli compare --method ODAM DRISE \\
      --config-file COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml --dataset coco_2017_val
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="output/comparison",
        help="folder for the results, e.g. results/comparison (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set, e.g. coco_2017_val (default: the first of the config's DATASETS.TEST)",
    )
    parser.add_argument(
        "--class-targets",
        nargs="+",
        choices=CLASS_TARGETS,
        metavar="TARGET",
        help=f"each method with each of {', '.join(CLASS_TARGETS)} that is named, e.g. score "
        "contrast (default: the config's alone)",
    )
    parser.add_argument(
        "--references",
        action="store_true",
        help=f"also judge {', '.join(REFERENCES)}: maps of known worth, on scenes with known "
        "causes",
    )
    add_data_set_arguments(parser)
    add_explainer_arguments(parser, several_methods=True)


def run(args: argparse.Namespace) -> int:
    from ..engine.launch import launch

    return launch(compare, args)


def compare(args: argparse.Namespace) -> int:
    """Runs in each process. Returns the exit status: 1 if an image failed."""
    from ..engine.defaults import setup_cfg, setup_terminal
    from ..engine.evaluate import dataset_names, judge_methods
    from ..engine.explainer import DefaultExplainer
    from ..engine.methods import build_methods, method_cfgs
    from ..evaluation import reference_maps

    setup_terminal()
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    saliency_cfg = explainer.choose_classes(saliency_cfg, args.classes)
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
