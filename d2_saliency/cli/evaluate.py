"""
Judge saliency maps by the papers' metrics on the annotated images of a data set.

Writes OUTPUT/inference/<data set>/: metrics.html (a page with violins, curves and each detection's
values), <method>/metrics.json, records/<method>/<image>.json and, for several methods,
comparison.md. A run that was stopped goes on where it was when the same command is given again.
"""

import argparse
from pathlib import Path

from .arguments import add_data_set_arguments, add_explainer_arguments

SUMMARY = "judge maps by the papers' metrics, on a data set"
RESUMES = True
EXAMPLES = """
examples:
  d2-saliency evaluate --method ODAM GradCAM --num-images 20   the bundled detector, planted scenes
  d2-saliency evaluate --config-file trained/config.yaml --coco-json val.json --image-root val/ \\
      --opts MODEL.WEIGHTS trained/model_final.pth     your detector, annotations in COCO's format
  d2-saliency evaluate --config-file trained/config.yaml --import my_package.register \\
      --opts MODEL.WEIGHTS trained/model_final.pth     the data set that your module registers
  torchrun --nproc-per-node 2 -m d2_saliency.cli evaluate      the same in two processes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="output/evaluate",
        help="folder for the results, e.g. results/val (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="these metrics, e.g. pointing_game deletion_insertion (default: the config's "
        "TEST.SALIENCY.METRICS)",
    )
    add_data_set_arguments(parser)
    add_explainer_arguments(parser, several_methods=True)


def run(args: argparse.Namespace) -> int:
    from ..engine.launch import launch

    if args.metrics:
        args.opts = ["TEST.SALIENCY.METRICS", repr(args.metrics), *args.opts]
    return launch(evaluate, args)


def evaluate(args: argparse.Namespace) -> int:
    """
    Judge the maps on data sets; runs in each process. Returns the exit status: 1 if an image
    failed.
    """
    from ..engine.defaults import setup_cfg, setup_terminal
    from ..engine.evaluate import dataset_names, judge_methods
    from ..engine.explainer import DefaultExplainer
    from ..engine.methods import build_methods, method_cfgs
    from ..evaluation.reference_maps import REFERENCES

    setup_terminal()
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    saliency_cfg = explainer.choose_classes(saliency_cfg, args.classes)
    cfgs = method_cfgs(saliency_cfg, args.method)
    methods = build_methods(cfg, cfgs, explainer.weights, REFERENCES)
    failed = 0.0
    for name in dataset_names(cfg):
        folder = Path(args.output) / "inference" / name
        results = judge_methods(explainer, methods, name, saliency_cfg, folder, args.num_images)
        failed += sum(metrics["saliency"]["failed"] for metrics in results.values() if metrics)
    return 1 if failed else 0
