"""What every command line tool of d2_saliency shares: arguments, and configs from paths or model-zoo names."""

import argparse
import logging
import os
import re
from typing import List, Optional, Tuple

import torch
import yaml
from detectron2 import model_zoo
from detectron2.config import CfgNode, LazyConfig, get_cfg
from omegaconf.errors import OmegaConfBaseException

from ..config import add_saliency_config
from ..modeling import CLASS_TARGETS, method_names

logger = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A config that cannot be used; the message is one line that says what to do."""


def add_explainer_arguments(parser: argparse.ArgumentParser, default_config: str) -> None:
    """Arguments that say which detector explains its detections how; ``default_config`` is the bundled detector."""
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        default=default_config,
        help="Detectron2 config of the detector, stock or with our keys: a .yaml or lazy .py file, or a model-zoo name "
        "such as COCO-Detection/retinanet_R_101_FPN_3x.yaml (default: %(default)s)",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help=f"saliency method, one of: {', '.join(method_names())} (default: the config's, {_default('NAME')})",
    )
    parser.add_argument(
        "--class-target",
        choices=CLASS_TARGETS,
        help="what the class map explains: the output score, the logit before it, or the contrast of the class's logit "
        f"to the other classes (default: the config's, {_default('CLASS_TARGET')})",
    )
    parser.add_argument(
        "--score-thresh",
        type=float,
        metavar="P",
        help=f"explain detections with a score above P, e.g. 0.7 (default: the config's, {_default('SCORE_THRESH')})",
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        metavar="N",
        help="explain at most N detections of an image, best scores first; 0: all "
        f"(default: the config's, {_default('MAX_INSTANCES')})",
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help=f"same seed, same maps (default: the config's, {_default('SEED')})"
    )
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="allow a config to run code: needed for lazy .py configs and for YAML with Python tags from outside "
        "Detectron2's model zoo. Only for files you trust",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="override config keys, at the end of the command, e.g. --opts MODEL.WEIGHTS model.pth "
        "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES 50 (lazy configs: key=value)",
    )


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
    path, from_zoo = find_config(args.config_file)
    saliency_cfg = get_cfg()
    add_saliency_config(saliency_cfg)
    if path.endswith(".py"):
        cfg = _load_lazy(path, args, trusted=from_zoo or args.trust_config)
    else:
        cfg = saliency_cfg
        _merge_yaml(cfg, path, trusted=from_zoo or args.trust_config)
        _merge_opts(cfg, args.opts)
    if from_zoo and not _names_weights(args.opts):
        saliency_cfg.MODEL.WEIGHTS = _zoo_weights(args.config_file) or saliency_cfg.MODEL.WEIGHTS
    _apply_arguments(saliency_cfg, args)
    return cfg, saliency_cfg, path


def find_config(name: str) -> Tuple[str, bool]:
    """Path of a config given as a path or a model-zoo name, and whether it is from Detectron2's model zoo."""
    zoo = os.path.dirname(os.path.abspath(model_zoo.get_config_file("Base-RCNN-FPN.yaml")))
    if os.path.isfile(name):
        return name, os.path.abspath(name).startswith(zoo + os.sep)
    try:
        return model_zoo.get_config_file(name), True
    except RuntimeError:
        raise ConfigError(
            f"There is no config '{name}', neither as a file nor in Detectron2's model zoo. Name a .yaml or .py file, "
            "or for example COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml."
        ) from None


def _merge_yaml(cfg: CfgNode, path: str, trusted: bool) -> None:
    try:
        cfg.merge_from_file(path, allow_unsafe=trusted)
    except yaml.constructor.ConstructorError as e:
        raise ConfigError(
            f"The config '{path}' (or its _BASE_) has a YAML tag that runs code ({e.problem}); if you trust it, allow "
            "that with --trust-config."
        ) from e
    except FileNotFoundError as e:
        raise ConfigError(f"The config '{path}' needs '{e.filename}', which does not exist.") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"The config '{path}' is not valid YAML: {_one_line(e)}") from e
    except (KeyError, ValueError, AssertionError, AttributeError, TypeError) as e:
        raise ConfigError(f"The config '{path}' does not fit Detectron2 with d2_saliency's keys: {_one_line(e)}") from e


def _merge_opts(cfg: CfgNode, opts: List[str]) -> None:
    if len(opts) % 2:
        raise ConfigError(f"--opts takes pairs of KEY VALUE, got {len(opts)} words: {' '.join(opts)}")
    try:
        cfg.merge_from_list(opts)
    except (KeyError, ValueError, AssertionError) as e:
        raise ConfigError(
            f"--opts: {_one_line(e)}. Keys are those of Detectron2's config and MODEL.SALIENCY_HEAD.*"
        ) from e


def _load_lazy(path: str, args: argparse.Namespace, trusted: bool):
    if not trusted:
        raise ConfigError(
            f"The lazy config '{path}' is Python code, which opening it would run; if you trust it, allow that with "
            "--trust-config."
        )
    try:
        cfg = LazyConfig.apply_overrides(LazyConfig.load(path), args.opts)
    except OmegaConfBaseException as e:
        raise ConfigError(f"--opts: {_one_line(e)}") from e
    missing = [key for key in ("model", "dataloader", "train") if key not in cfg]
    if missing:
        raise ConfigError(f"The lazy config '{path}' does not define {', '.join(missing)}, so there is nothing to run.")
    return cfg


def _names_weights(opts: List[str]) -> bool:
    return any(re.match(r"(MODEL\.WEIGHTS|train\.init_checkpoint)\b", word) for word in opts)


def _zoo_weights(config_name: str) -> Optional[str]:
    """Address of the trained weights of a model-zoo config; its own MODEL.WEIGHTS is only where training starts."""
    marker = "model_zoo/configs/"
    name = config_name.replace(os.sep, "/").split(marker)[-1]
    try:
        return model_zoo.get_checkpoint_url(name)
    except RuntimeError:
        return None


def _apply_arguments(cfg: CfgNode, args: argparse.Namespace) -> None:
    head = cfg.MODEL.SALIENCY_HEAD
    for key in ("method", "class_target", "score_thresh", "max_instances", "seed"):
        value = getattr(args, key)
        if value is not None:
            head["NAME" if key == "method" else key.upper()] = value
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.info(f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but there is no GPU here: running on the CPU.")
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
