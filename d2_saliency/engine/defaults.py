"""Sets up terminal and config of a command, from the arguments of :mod:`d2_saliency.cli`."""

import argparse
import copy
import logging
import warnings
from typing import Tuple

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.logger import setup_logger

from ..config import add_saliency_config
from ..data.user_data_sets import register_class_names, register_coco_json
from ..utils.text import printable
from .config_files import (
    ConfigError,
    check_opts,
    find_config,
    load_lazy,
    merge_opts,
    merge_yaml,
    split_opts,
    zoo_weights,
)
from .user_modules import run_user_modules

logger = logging.getLogger(__name__)


def setup_terminal() -> None:
    """
    Show what d2_saliency logs, and silence what libraries say that is of no use to the person at
    the terminal.
    """
    ours = setup_logger(name="d2_saliency")
    ours.setLevel(logging.INFO)
    for handler in ours.handlers:
        if handler.formatter and not isinstance(handler.formatter, _Printable):
            handler.setFormatter(_Printable(handler.formatter))
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release", UserWarning)
    # fvcore warns of YAML tags that run code also where that is allowed, as in the model zoo.
    logging.getLogger("fvcore.common.config").addFilter(
        lambda record: "yaml.unsafe_load" not in record.getMessage()
    )


class _Printable(logging.Formatter):
    """Formats as another formatter does; what names of files and classes hold is printable."""

    def __init__(self, formatter: logging.Formatter):
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info:
            record.exc_text = printable(self._formatter.formatException(record.exc_info))
        return self._formatter.format(record)


def setup_cfg(args: argparse.Namespace) -> Tuple[object, CfgNode, str]:
    """
    The config that the arguments of ``add_explainer_arguments`` (cli/arguments.py) describe.

    Returns:
        (cfg, saliency_cfg, config_file): for YAML, cfg and saliency_cfg are one CfgNode; for a lazy
        config, cfg is the LazyConfig and saliency_cfg a CfgNode with ``MODEL.SALIENCY_HEAD``,
        ``MODEL.DEVICE`` and ``MODEL.WEIGHTS``. config_file is the path that was read.

    Modules of --import run first, in each process, so that the config can name what they register.

    Raises:
        ConfigError: no such config, a key that does not exist, a value that does not fit, code
            where none is allowed, a config that sets the limits of its own downloads, or a module
            that fails.
        DatasetError: --coco-json or --image-root cannot be used.
    """
    check_opts(args.opts)
    path, zoo_name = find_config(args.config_file)
    trusted = bool(zoo_name) or args.trust_config
    saliency_cfg = get_cfg()
    add_saliency_config(saliency_cfg)
    run_user_modules(args.imports, saliency_cfg)
    limits = saliency_cfg.MODEL.SALIENCY_HEAD.DOWNLOAD.clone()
    if path.endswith(".py"):
        opts, lazy_opts = split_opts(args.opts)
        cfg = load_lazy(path, lazy_opts, trusted)
        names_weights = any(word.startswith("train.init_checkpoint") for word in lazy_opts)
    else:
        opts, cfg, names_weights = args.opts, saliency_cfg, False
        merge_yaml(cfg, path, trusted, args.allow_unknown_keys)
    if saliency_cfg.MODEL.SALIENCY_HEAD.DOWNLOAD != limits and not trusted:
        raise ConfigError(
            f"The config '{path}' sets MODEL.SALIENCY_HEAD.DOWNLOAD, the limits of what it may "
            "fetch. Set them with --opts; or, if you trust it, allow that with --trust-config."
        )
    if zoo_name and not names_weights:
        saliency_cfg.MODEL.WEIGHTS = zoo_weights(zoo_name) or saliency_cfg.MODEL.WEIGHTS
    merge_opts(saliency_cfg, opts)
    _apply_data_set(cfg, saliency_cfg, args)
    _apply_arguments(saliency_cfg, args)
    return cfg, saliency_cfg, path


def _apply_data_set(cfg, saliency_cfg: CfgNode, args: argparse.Namespace) -> None:
    if args.image_root and not args.coco_json:
        raise ConfigError("--image-root says where the images of --coco-json are: name that, too.")
    name = None
    if args.coco_json:
        name = register_coco_json(args.coco_json, args.image_root)
    if getattr(args, "class_names", None):  # of commands that explain images
        name = register_class_names(args.class_names)
    if name is not None:
        saliency_cfg.DATASETS.TEST = (name,)
        if cfg is not saliency_cfg:
            cfg.dataloader.test.dataset.names = name


def _apply_arguments(cfg: CfgNode, args: argparse.Namespace) -> None:
    head = cfg.MODEL.SALIENCY_HEAD
    if args.method:
        head.NAME = args.method[0]
    for key in ("class_target", "score_thresh", "max_instances", "seed"):
        value = getattr(args, key)
        if value is not None:
            head[key.upper()] = value
    if args.device:
        cfg.MODEL.DEVICE = args.device
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.info(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but there is no GPU here: running on the CPU."
        )
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
