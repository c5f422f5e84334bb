"""
Arguments that the commands share.

Imports no torch, so that --help and mistyped commands are answered at once.
"""

import argparse
import math
from typing import Any

from ..keys import CLASS_TARGETS, KEYS
from ..methods import METHODS
from ..utils.bundled import bundled

OUTPUTS = ("class", "x_min", "y_min", "x_max", "y_max")
"""Those of the package, which has them beside torch; tests/cli/test_arguments.py compares."""

DEMO_CONFIG = bundled("configs/demo/faster_rcnn_planted.yaml")
DEMO_IMAGES = bundled("demo/images")


def _default(name: str) -> Any:
    """Show the default of a key of ``MODEL.SALIENCY_HEAD``."""
    return KEYS[f"MODEL.SALIENCY_HEAD.{name}"].default


def add_explainer_arguments(parser: argparse.ArgumentParser, several_methods: bool = False) -> None:
    """
    Arguments that say which detector explains its detections how; ``engine.defaults.setup_cfg``
    makes a config of them.

    Args:
        parser: to add them to.
        several_methods: take more than one --method; ``engine.defaults.method_cfgs`` has a config
            for each.
    """
    _add_detector_arguments(parser.add_argument_group("detector"))
    _add_user_arguments(parser.add_argument_group("your own code and data"))
    group = parser.add_argument_group("method")
    _add_method_arguments(group, several_methods)
    _add_detection_arguments(group)


def _add_detector_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config-file",
        metavar="FILE",
        default=str(DEMO_CONFIG),
        help="Detectron2 config of the detector, stock or with our keys: a .yaml or lazy .py file, "
        "or a model-zoo name, e.g. COCO-Detection/retinanet_R_101_FPN_3x.yaml, which brings its "
        f"trained weights (default: the bundled {DEMO_CONFIG.name})",
    )
    group.add_argument(
        "--device",
        metavar="NAME",
        help="where the detector runs, e.g. cpu or cuda:1 (default: the config's MODEL.DEVICE)",
    )
    group.add_argument(
        "--trust-config",
        action="store_true",
        help="allow a config to run code, to take a _BASE_ from a server and to set the limits of "
        "downloads: needed for lazy .py configs and for YAML with Python tags from outside "
        "Detectron2's model zoo, e.g. --config-file my_config.py --trust-config. Only for files "
        "you trust",
    )
    group.add_argument(
        "--allow-unknown-keys",
        action="store_true",
        help="leave out keys of the config's MODEL that neither Detectron2 nor --import knows, "
        "e.g. of a backbone that is not used; unknown keys of training are left out anyway",
    )
    group.add_argument(
        "--trust-weights",
        action="store_true",
        help="allow weights to run code: needed for checkpoints that hold more than tensors, "
        "arrays and plain containers, e.g. --opts MODEL.WEIGHTS old.pth --trust-weights. Only for "
        "files you trust",
    )
    group.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="override config keys, at the end of the command, e.g. --opts MODEL.WEIGHTS model.pth "
        "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES 50; keys of a lazy config as key=value, "
        "e.g. --opts train.init_checkpoint=model.pth",
    )


def _add_user_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="run this module first: its code may register data sets, architectures and methods, "
        "and its function add_config(cfg), if there is one, may add config keys, e.g. "
        "my_package.register, path/to/register.py, or detr:add_detr_config to call another "
        "function; repeat it for more modules. Only for code you trust",
    )
    group.add_argument(
        "--coco-json",
        metavar="FILE",
        help="annotations in COCO's format, which need not be registered: they become "
        "DATASETS.TEST, and their categories name the classes, e.g. annotations/val.json",
    )
    group.add_argument(
        "--image-root",
        metavar="DIR",
        help="folder of the images of --coco-json, e.g. val/ (default: the folder of the file)",
    )


def _add_method_arguments(group: argparse._ArgumentGroup, several_methods: bool) -> None:
    group.add_argument(
        "--method",
        nargs="+" if several_methods else 1,
        metavar="NAME",
        help=f"saliency method, one of {', '.join(METHODS)}; e.g. Gradient"
        f"{', or ODAM Gradient for the same detections with both' if several_methods else ''} "
        f"(default: the config's, {_default('NAME')})",
    )
    group.add_argument(
        "--list-methods",
        action="store_true",
        help="say what each method does, and nothing else; with --import also those that it "
        "registers, e.g. --import my_method.py --list-methods",
    )
    group.add_argument(
        "--class-target",
        choices=CLASS_TARGETS,
        help="what the class map explains: the output score, the logit before it, or the contrast "
        "of the class's logit to the other classes, e.g. contrast to see why it is this class and "
        f"no other (default: the config's, {_default('CLASS_TARGET')})",
    )
    group.add_argument(
        "--seed",
        type=natural,
        metavar="S",
        help="of the noise: the same seed gives the same maps, e.g. 1 (default: the config's, "
        f"{_default('SEED')})",
    )


def _add_detection_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--score-thresh",
        type=_score,
        metavar="P",
        help="explain detections with a score above P, e.g. 0.7; the detector itself drops those "
        "below the config's SCORE_THRESH_TEST "
        f"(default: the config's, {_default('SCORE_THRESH')})",
    )
    group.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        default=[],
        help="explain detections of these classes only, by name or number, e.g. dog cat "
        "'traffic light' (default: the config's, all)",
    )
    group.add_argument(
        "--max-instances",
        type=natural,
        metavar="N",
        help="explain at most N detections of an image, best scores first, e.g. 5; 0: all "
        f"(default: the config's, {_default('MAX_INSTANCES')})",
    )


def _score(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError
    return value


def natural(text: str) -> int:
    """Type of an argument: a whole number from 0 that torch can take."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError
    return value


# argparse says "invalid number value: 'x'"
_score.__name__, natural.__name__ = "number", "whole number >= 0"


def add_class_names_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="names of the detector's classes, in their order, e.g. cat dog 'traffic light' "
        "(default: those of the data set)",
    )


def add_data_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments: how much of a data set is judged, and by which processes."""
    parser.add_argument(
        "--num-images",
        type=int,
        default=0,
        metavar="N",
        help="judge the first N images only, e.g. 100 (default: all)",
    )
    add_launch_arguments(parser)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every Detectron2 tool that say where it runs."""
    group = parser.add_argument_group("processes")
    group.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs on each machine, e.g. 8 (default: 1)",
    )
    group.add_argument(
        "--num-machines",
        type=int,
        default=1,
        metavar="N",
        help="machines in total, e.g. 2 (default: 1)",
    )
    group.add_argument(
        "--machine-rank",
        type=int,
        default=0,
        metavar="R",
        help="number of this machine, from 0, e.g. 1",
    )
    group.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the machines meet, e.g. tcp://10.0.0.1:50000 (default: a free port of this "
        "machine)",
    )
