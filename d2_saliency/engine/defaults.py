"""What every command line tool of d2_saliency shares: arguments, and what they set up."""

import argparse
import logging
import math
import warnings
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.logger import setup_logger

from ..config import add_saliency_config
from ..modeling import CLASS_TARGETS, method_names
from .config_files import find_config, load_lazy, merge_opts, merge_yaml, split_opts, zoo_weights

logger = logging.getLogger(__name__)


def setup_terminal() -> None:
    """Show what d2_saliency logs, and silence what libraries say that is of no use to the person at the terminal."""
    setup_logger(name="d2_saliency").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release", UserWarning)
    warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)
    # fvcore warns of YAML tags that run code also where that is allowed, as in the model zoo.
    logging.getLogger("fvcore.common.config").addFilter(lambda record: "yaml.unsafe_load" not in record.getMessage())
    logging.getLogger("iopath.common.download").setLevel(logging.CRITICAL)  # WeightsError says it again


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
        help="Detectron2 config of the detector, stock or with our keys: a .yaml or lazy .py file, or a model-zoo "
        "name, e.g. COCO-Detection/retinanet_R_101_FPN_3x.yaml, which brings its trained weights "
        f"(default: the bundled {Path(default_config).name})",
    )
    parser.add_argument(
        "--method",
        nargs="+" if several_methods else 1,
        metavar="NAME",
        help=f"saliency method, one of {', '.join(method_names())}; e.g. Gradient"
        f"{', or ODAM Gradient for the same detections with both' if several_methods else ''} "
        f"(default: the config's, {_default('NAME')})",
    )
    parser.add_argument(
        "--class-target",
        choices=CLASS_TARGETS,
        help="what the class map explains: the output score, the logit before it, or the contrast of the class's logit "
        "to the other classes, e.g. contrast to see why it is this class and no other "
        f"(default: the config's, {_default('CLASS_TARGET')})",
    )
    parser.add_argument(
        "--score-thresh",
        type=_score,
        metavar="P",
        help="explain detections with a score above P, e.g. 0.7; the detector itself drops those below the config's "
        f"SCORE_THRESH_TEST (default: the config's, {_default('SCORE_THRESH')})",
    )
    parser.add_argument(
        "--max-instances",
        type=_natural,
        metavar="N",
        help="explain at most N detections of an image, best scores first, e.g. 5; 0: all "
        f"(default: the config's, {_default('MAX_INSTANCES')})",
    )
    parser.add_argument(
        "--seed",
        type=_natural,
        metavar="S",
        help=f"of the noise: the same seed gives the same maps, e.g. 1 (default: the config's, {_default('SEED')})",
    )
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="allow a config to run code: needed for lazy .py configs and for YAML with Python tags from outside "
        "Detectron2's model zoo, e.g. --config-file my_config.py --trust-config. Only for files you trust",
    )
    parser.add_argument(
        "--trust-weights",
        action="store_true",
        help="allow weights to run code: needed for checkpoints that hold more than tensors, arrays and plain "
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


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError
    return value


_score.__name__, _natural.__name__ = "number", "whole number >= 0"  # argparse: "invalid number value: 'x'"


def _default(key: str):
    cfg = get_cfg()
    add_saliency_config(cfg)
    return cfg.MODEL.SALIENCY_HEAD[key]


def setup_cfg(args: argparse.Namespace) -> Tuple[object, CfgNode, str]:
    """
    The config that the arguments of :func:`add_explainer_arguments` describe.

    Returns:
        (cfg, saliency_cfg, config_file): for YAML, cfg and saliency_cfg are one CfgNode; for a lazy config, cfg is the
        LazyConfig and saliency_cfg a CfgNode with ``MODEL.SALIENCY_HEAD``, ``MODEL.DEVICE`` and ``MODEL.WEIGHTS``.
        config_file is the path that was read.

    Raises:
        ConfigError: no such config, a key that does not exist, a value that does not fit, code where none is allowed.
    """
    path, zoo_name = find_config(args.config_file)
    trusted = bool(zoo_name) or args.trust_config
    saliency_cfg = get_cfg()
    add_saliency_config(saliency_cfg)
    if path.endswith(".py"):
        opts, lazy_opts = split_opts(args.opts)
        cfg = load_lazy(path, lazy_opts, trusted)
        names_weights = any(word.startswith("train.init_checkpoint") for word in lazy_opts)
    else:
        opts, cfg, names_weights = args.opts, saliency_cfg, False
        merge_yaml(cfg, path, trusted)
    if zoo_name and not names_weights:
        saliency_cfg.MODEL.WEIGHTS = zoo_weights(zoo_name) or saliency_cfg.MODEL.WEIGHTS
    merge_opts(saliency_cfg, opts)
    _apply_arguments(saliency_cfg, args)
    return cfg, saliency_cfg, path


def method_cfgs(saliency_cfg: CfgNode, methods: Optional[Sequence[str]]) -> List[CfgNode]:
    """The config of :func:`setup_cfg` for each method of ``args.method``, each once; None: the config's own."""
    cfgs = []
    for name in dict.fromkeys(methods or [saliency_cfg.MODEL.SALIENCY_HEAD.NAME]):
        cfg = saliency_cfg.clone()
        cfg.defrost()
        cfg.MODEL.SALIENCY_HEAD.NAME = name
        cfg.freeze()
        cfgs.append(cfg)
    return cfgs


def _apply_arguments(cfg: CfgNode, args: argparse.Namespace) -> None:
    head = cfg.MODEL.SALIENCY_HEAD
    if args.method:
        head.NAME = args.method[0]
    for key in ("class_target", "score_thresh", "max_instances", "seed"):
        value = getattr(args, key)
        if value is not None:
            head[key.upper()] = value
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.info(f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but there is no GPU here: running on the CPU.")
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
