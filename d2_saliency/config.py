"""Makes a Detectron2 config of the keys that :mod:`d2_saliency.keys` declares."""

from copy import deepcopy
from typing import Dict

from detectron2.config import CfgNode as CN

from .keys import NODES, Key


def add_saliency_config(cfg: CN) -> None:
    """
    Add d2_saliency's keys with their defaults to a config. Call it before ``merge_from_file``.
    """
    cfg.MODEL.SALIENCY_HEAD = _node(NODES["MODEL.SALIENCY_HEAD"])
    cfg.TEST.SALIENCY = _node(NODES["TEST.SALIENCY"])
    if "FCOS" not in cfg.MODEL:  # another project's FCOS keeps its keys
        cfg.MODEL.FCOS = _node(NODES["MODEL.FCOS"])


def _node(keys: Dict[str, Key]) -> CN:
    node = CN()
    for name, key in keys.items():
        *parents, leaf = name.split(".")
        inner = node
        for parent in parents:
            inner = inner.setdefault(parent, CN())
        inner[leaf] = deepcopy(key.default)
    return node
