"""
Explain what a detector finds in images: for every detection five saliency maps.

Writes to the output folder: index.html (a report to look at, opens from disk),
<image>/<method>/*.png (panels), maps/<method>/*.npz (the maps), results.json (one record per
detection) and errors.json (images that failed, and why). A run that was stopped goes on where it
was when the same command is given again. Exit status: 0 if all images were explained, 1 if some
failed, 2 if the command cannot be carried out, 130 if it was stopped.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from ..utils.text import printable
from .arguments import DEMO_IMAGES, add_class_names_argument, add_explainer_arguments, natural

if TYPE_CHECKING:
    from ..engine.detection_metrics import DetectionMetrics

# What needs torch is imported in the functions, after the arguments are parsed: --help shall not
# take seconds.

SUMMARY = "explain what a detector finds in images: maps, pictures and a report"
RESUMES = True
EXAMPLES = """
examples:
  d2-saliency explain                                   the bundled detector on the bundled images
  d2-saliency explain --input photo.jpg --output out    the bundled detector on a photo
  d2-saliency explain --config-file COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml --input photos/ \\
      --opts MODEL.WEIGHTS model_final.pkl        a model-zoo detector with downloaded weights
  d2-saliency explain --config-file my.yaml --input 'photos/**/*.jpg' --score-thresh 0.8
  d2-saliency explain --method ODAM SSGradCAM Gradient  three methods side by side in one report
  d2-saliency explain --method ODAM GradCAM --metrics   the report says what each map is worth
  d2-saliency explain --config-file trained/config.yaml --coco-json val.json --input photos/ \\
      --opts MODEL.WEIGHTS trained/model_final.pth      your detector, with its classes' names
  d2-saliency explain --config-file detr.yaml --import detr:add_detr_config --input photo.jpg
  d2-saliency explain --input photo.jpg --method DRISE \\
      --target-box 40,60,180,300 --target-class dog     why was this dog missed?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        default=[str(DEMO_IMAGES)],
        help="image files, folders of images, or quoted patterns, e.g. photo.jpg holiday/ "
        "'photos/**/*.png'; any size, EXIF rotation, grey, RGBA and 16 bits are understood "
        "(default: the bundled images)",
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
        "all, e.g. 0 for a large data set, where drawing costs more than a fast method "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--metrics",
        nargs="*",
        metavar="NAME",
        help="also measure each map and show the values in the report, e.g. --metrics "
        "average_drop; without a NAME those of TEST.SALIENCY.METRICS that need no annotated "
        "images. Costs up to hundreds of runs of the detector for each detection (default: none)",
    )
    _add_object_arguments(parser)
    add_explainer_arguments(parser, several_methods=True)


def _add_object_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target-box",
        action="append",
        type=_box,
        metavar="X0,Y0,X1,Y1",
        help="explain the object in this box, in pixels of the image, in place of the detections, "
        "whether the detector finds it or not, e.g. 40,60,180,300; give a --target-class for each, "
        "repeat both for more objects",
    )
    parser.add_argument(
        "--target-class",
        action="append",
        metavar="NAME",
        help="class, name or index, that is to be explained in the --target-box, e.g. dog",
    )
    add_class_names_argument(parser)


def _box(text: str) -> List[float]:
    values = [float(number) for number in text.split(",")]
    if len(values) != 4:
        raise ValueError
    return values


_box.__name__ = (
    "box, four numbers with commas between them"  # argparse: "invalid box, ... value: 'x'"
)


def run(args: argparse.Namespace) -> int:
    _check_processes(args)
    if args.metrics:
        args.opts = ["TEST.SALIENCY.METRICS", repr(args.metrics), *args.opts]
    return explain(args)


def _check_processes(args: argparse.Namespace) -> None:
    """Refuse to be one of several processes: all would write the same files."""
    asked = getattr(args, "num_gpus", 1) > 1 or getattr(args, "num_machines", 1) > 1  # explain_net
    if asked or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(
            "Images are explained by one process: leave out torchrun, --num-gpus and "
            "--num-machines, and give parts of --input to commands with an --output each. Data "
            "sets are shared out among processes: d2-saliency evaluate."
        )


def explain(args: argparse.Namespace) -> int:
    """Run what the arguments ask for. Returns the exit status: 1 if an image failed."""
    from ..engine.defaults import setup_cfg, setup_terminal
    from ..engine.explainer import DefaultExplainer, ObjectExplainer
    from ..engine.methods import build_methods, method_cfgs
    from ..engine.run import explain_images
    from ..utils.image_files import check_any_readable, list_images

    setup_terminal()
    targets = _targets(args)
    paths = list_images(args.input)
    check_any_readable(paths)
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    saliency_cfg = explainer.choose_classes(saliency_cfg, args.classes)
    measure = _measure(explainer, saliency_cfg, args)
    methods = build_methods(
        cfg,
        method_cfgs(saliency_cfg, args.method),
        explainer.weights,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        targets=targets,
        better=measure.better if measure else None,
    )
    explain = ObjectExplainer(explainer, *zip(*targets)) if targets else explainer
    failed = explain_images(explain, paths, methods, args.output, measure, args.panels)
    if failed:
        print(
            f"{failed} of {len(paths)} images failed: see "
            f"{printable(str(Path(args.output) / 'errors.json'))}",
            file=sys.stderr,
        )
    print(f"Report: {printable(str(Path(args.output) / 'index.html'))}")
    return 1 if failed else 0


def _targets(args: argparse.Namespace) -> List[Tuple[List[float], str]]:
    """(box, class) of each object that the user names."""
    boxes, classes = args.target_box or [], args.target_class or []
    if len(boxes) != len(classes):
        raise ValueError("Give as many --target-box as --target-class: each box needs a class.")
    if boxes and args.classes:
        raise ValueError(
            "--classes chooses among detections: leave it out, or leave out --target-box."
        )
    if boxes and args.metrics is not None:
        raise ValueError(
            "--metrics judges the maps of detections: leave it out, or leave out --target-box."
        )
    return list(zip(boxes, classes))


def _measure(explainer, saliency_cfg, args: argparse.Namespace) -> Optional["DetectionMetrics"]:
    """Build what measures the maps, if anything is to."""
    from ..engine.detection_metrics import DetectionMetrics

    if args.metrics is None:
        return None
    return DetectionMetrics(explainer, saliency_cfg.TEST.SALIENCY, args.metrics or None)
