"""
Arguments that the tools share.

Imports nothing that imports torch, so that --help and mistyped commands are answered at once.
"""

import argparse
import math
import re
from pathlib import Path
from typing import Any

from d2_saliency.keys import CLASS_TARGETS, KEYS

ROOT = Path(__file__).resolve().parents[1]
HEADS = ROOT / "d2_saliency" / "modeling" / "saliency_heads"
REGISTERED = re.compile(r"^@SALIENCY_HEAD_REGISTRY\.register\(\)\nclass (\w+)", re.MULTILINE)
METHODS = sorted(
    name for file in HEADS.glob("*.py") for name in REGISTERED.findall(file.read_text())
)
"""Read from the sources, as importing them imports torch."""

OUTPUTS = ("class", "x_min", "y_min", "x_max", "y_max")
"""Those of the package, which has them beside torch; tests/tools/test_arguments.py compares."""


def default(name: str) -> Any:
    """Of a key of ``MODEL.SALIENCY_HEAD``."""
    return KEYS[f"MODEL.SALIENCY_HEAD.{name}"].default


def add_explainer_arguments(
    parser: argparse.ArgumentParser, default_config: str, several_methods: bool = False
) -> None:
    """
    Arguments that say which detector explains its detections how.

    Args:
        parser: to add them to.
        default_config: path of the bundled detector's config.
        several_methods: take more than one --method; :func:`method_cfgs` has a config for each.
    """
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        default=default_config,
        help="Detectron2 config of the detector, stock or with our keys: a .yaml or lazy .py file, "
        "or a model-zoo "
        "name, e.g. COCO-Detection/retinanet_R_101_FPN_3x.yaml, which brings its trained weights "
        f"(default: the bundled {Path(default_config).name})",
    )
    parser.add_argument(
        "--method",
        nargs="+" if several_methods else 1,
        metavar="NAME",
        help=f"saliency method, one of {', '.join(METHODS)}; e.g. Gradient"
        f"{', or ODAM Gradient for the same detections with both' if several_methods else ''} "
        f"(default: the config's, {default('NAME')})",
    )
    parser.add_argument(
        "--class-target",
        choices=CLASS_TARGETS,
        help="what the class map explains: the output score, the logit before it, or the contrast "
        "of the class's logit "
        "to the other classes, e.g. contrast to see why it is this class and no other "
        f"(default: the config's, {default('CLASS_TARGET')})",
    )
    parser.add_argument(
        "--score-thresh",
        type=_score,
        metavar="P",
        help="explain detections with a score above P, e.g. 0.7; the detector itself drops those "
        "below the config's "
        f"SCORE_THRESH_TEST (default: the config's, {default('SCORE_THRESH')})",
    )
    parser.add_argument(
        "--max-instances",
        type=natural,
        metavar="N",
        help="explain at most N detections of an image, best scores first, e.g. 5; 0: all "
        f"(default: the config's, {default('MAX_INSTANCES')})",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="S",
        help="of the noise: the same seed gives the same maps, e.g. 1 (default: the config's, "
        f"{default('SEED')})",
    )
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="allow a config to run code, to take a _BASE_ from a server and to set the limits of "
        "downloads: needed "
        "for lazy .py configs and for YAML with Python tags from outside Detectron2's model zoo, "
        "e.g. --config-file my_config.py --trust-config. Only for files you trust",
    )
    parser.add_argument(
        "--trust-weights",
        action="store_true",
        help="allow weights to run code: needed for checkpoints that hold more than tensors, "
        "arrays and plain "
        "containers, e.g. --opts MODEL.WEIGHTS old.pth --trust-weights. Only for files you trust",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="override config keys, at the end of the command, e.g. --opts MODEL.WEIGHTS model.pth "
        "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES 50; keys of a lazy config as key=value, "
        "e.g. --opts train.init_checkpoint=model.pth",
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


_score.__name__, natural.__name__ = (
    "number",
    "whole number >= 0",
)  # argparse: "invalid number value: 'x'"


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every Detectron2 tool that say where it runs."""
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs on each machine, e.g. 8 (default: 1)",
    )
    parser.add_argument(
        "--num-machines",
        type=int,
        default=1,
        metavar="N",
        help="machines in total, e.g. 2 (default: 1)",
    )
    parser.add_argument(
        "--machine-rank",
        type=int,
        default=0,
        metavar="R",
        help="number of this machine, from 0, e.g. 1",
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the machines meet, e.g. tcp://10.0.0.1:50000 (default: a free port of this "
        "machine)",
    )
