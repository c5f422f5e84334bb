#!/usr/bin/env python
"""
Explain what a Detectron2 model detects: for every detection five saliency maps (class, x_min,
y_min, x_max, y_max).

Writes to the output folder: index.html (a report to look at, opens from disk),
<image>/<method>/*.png (panels), maps/<method>/*.npz (the maps), results.json (one record per
detection) and errors.json (images that failed, and why). A run that was stopped goes on where it
was when the same command is given again. Exit status: 0 if all images were explained, 1 if some
failed, 2 if the command cannot be carried out, 130 if it was stopped.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from arguments import add_explainer_arguments, add_launch_arguments, natural
from run_tool import run_tool

if TYPE_CHECKING:
    from d2_saliency.engine.detection_metrics import DetectionMetrics

# What needs torch is imported in the functions, after the arguments are parsed: --help shall not
# take seconds.

ROOT = Path(__file__).resolve().parents[1]
EPILOG = """
examples:
  tools/explain_net.py                                    the bundled detector on the bundled images
  tools/explain_net.py --input photo.jpg --output out     the bundled detector on a photo
  tools/explain_net.py --config-file COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml --input photos/ \\
      --opts MODEL.WEIGHTS model_final.pkl          a model-zoo detector with downloaded weights
  tools/explain_net.py --config-file my.yaml --input 'photos/**/*.jpg' --score-thresh 0.8
  tools/explain_net.py --method ODAM SSGradCAM Gradient   three methods side by side in one report
  tools/explain_net.py --input photo.jpg --method DRISE \\
      --target-box 40,60,180,300 --target-class dog       why was this dog missed?
  tools/explain_net.py --method ODAM GradCAM --metrics    the report says what each map is worth
  tools/explain_net.py --eval-only --method ODAM GradCAM  metrics on the config's DATASETS.TEST
  torchrun --nproc-per-node 2 tools/explain_net.py --eval-only      the same in two processes
"""


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        default=[str(ROOT / "demo" / "images")],
        help="image files, folders of images, or quoted patterns, e.g. photo.jpg holiday/ "
        "'photos/**/*.png'; any size, "
        "EXIF rotation, grey, RGBA and 16 bits are understood (default: the bundled images)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="output/explain",
        help="folder for the results, e.g. results/holiday (default: %(default)s)",
    )
    parser.add_argument(
        "--panels",
        type=natural,
        default=100,
        metavar="N",
        help="draw the PNG of each detection for the first N images; the report and maps/ have "
        "all, e.g. 0 for a large "
        "data set, where drawing costs more than a fast method (default: %(default)s)",
    )
    _add_evaluation_arguments(parser)
    parser.add_argument(
        "--target-box",
        action="append",
        type=_box,
        metavar="X0,Y0,X1,Y1",
        help="explain the object in this box, in pixels of the image, in place of the detections, "
        "whether the detector "
        "finds it or not, e.g. 40,60,180,300; give a --target-class for each, repeat both for more "
        "objects",
    )
    parser.add_argument(
        "--target-class",
        action="append",
        metavar="NAME",
        help="class, name or index, that is to be explained in the --target-box, e.g. dog",
    )
    add_explainer_arguments(
        parser, str(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"), several_methods=True
    )
    return parser.parse_args()


def _add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="judge the maps on the config's DATASETS.TEST in place of explaining --input: metrics "
        "of the config's "
        "TEST.SALIENCY in OUTPUT/inference/<data set>/, with a page to look at, metrics.html; "
        "e.g. --eval-only --method ODAM --num-images 100",
    )
    parser.add_argument(
        "--metrics",
        nargs="*",
        metavar="NAME",
        help="also measure each map and show the values in the report, e.g. --metrics "
        "average_drop; without a NAME "
        "those of TEST.SALIENCY.METRICS that need no annotated images. Costs up to hundreds of "
        "runs of the "
        "detector for each detection (default: none). With --eval-only: these in place of the "
        "config's",
    )
    parser.add_argument(
        "--num-images",
        type=int,
        default=0,
        metavar="N",
        help="judge the first N images only, e.g. 100 (default: all)",
    )
    add_launch_arguments(parser)


def _box(text: str) -> List[float]:
    values = [float(number) for number in text.split(",")]
    if len(values) != 4:
        raise ValueError
    return values


_box.__name__ = (
    "box, four numbers with commas between them"  # argparse: "invalid box, ... value: 'x'"
)


def main() -> int:
    args = parse_args()
    if args.metrics:
        args.opts = ["TEST.SALIENCY.METRICS", repr(args.metrics), *args.opts]
    return run_tool("explain_net", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    from d2_saliency.engine.launch import launch

    return launch(evaluate, args) if args.eval_only else explain(args)


def explain(args: argparse.Namespace) -> int:
    """Run what the arguments ask for. Returns the exit status: 1 if an image failed."""
    from d2_saliency.engine.defaults import setup_cfg
    from d2_saliency.engine.explainer import DefaultExplainer, ObjectExplainer
    from d2_saliency.engine.methods import build_methods, method_cfgs
    from d2_saliency.engine.run import explain_images
    from d2_saliency.utils.image_files import check_any_readable, list_images

    paths = list_images(args.input)
    check_any_readable(paths)
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    targets = list(zip(args.target_box or [], args.target_class or []))
    if len(args.target_box or []) != len(args.target_class or []):
        raise ValueError("Give as many --target-box as --target-class: each box needs a class.")
    if targets:
        explainer = ObjectExplainer(explainer, args.target_box, args.target_class)
    if targets and args.metrics is not None:
        raise ValueError(
            "--metrics judges the maps of detections: leave it out, or leave out --target-box."
        )
    measure = _measure(explainer, saliency_cfg, args)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    methods = build_methods(
        cfg,
        method_cfgs(saliency_cfg, args.method),
        explainer.weights,
        command=command,
        targets=targets,
        better=measure.better if measure else None,
    )
    failed = explain_images(explainer, paths, methods, args.output, measure, args.panels)
    if failed:
        print(
            f"{failed} of {len(paths)} images failed: see {Path(args.output) / 'errors.json'}",
            file=sys.stderr,
        )
    print(f"Report: {Path(args.output) / 'index.html'}")
    return 1 if failed else 0


def _measure(explainer, saliency_cfg, args: argparse.Namespace) -> Optional["DetectionMetrics"]:
    """What measures the maps, if anything is to."""
    from d2_saliency.engine.detection_metrics import DetectionMetrics

    if args.metrics is None:
        return None
    return DetectionMetrics(explainer, saliency_cfg.TEST.SALIENCY, args.metrics or None)


def evaluate(args: argparse.Namespace) -> int:
    """
    Judge the maps on data sets; runs in each process. Returns the exit status: 1 if an image
    failed.
    """
    from d2_saliency.engine.defaults import setup_cfg, setup_terminal
    from d2_saliency.engine.evaluate import dataset_names, judge_methods
    from d2_saliency.engine.explainer import DefaultExplainer
    from d2_saliency.engine.methods import build_methods, method_cfgs
    from d2_saliency.evaluation.reference_maps import REFERENCES

    setup_terminal()
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    cfgs = method_cfgs(saliency_cfg, args.method)
    methods = build_methods(cfg, cfgs, explainer.weights, REFERENCES)
    failed = 0
    for name in dataset_names(cfg):
        folder = Path(args.output) / "inference" / name
        results = judge_methods(explainer, methods, name, saliency_cfg, folder, args.num_images)
        failed += sum(metrics["saliency"]["failed"] for metrics in results.values() if metrics)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
