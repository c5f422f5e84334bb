"""Saliency heads by name."""

from typing import Optional

from detectron2.config import CfgNode, get_cfg
from detectron2.utils.registry import Registry

from ...config import add_saliency_config
from ...keys import check_values, did_you_mean

SALIENCY_HEAD_REGISTRY = Registry("SALIENCY_HEAD")
SALIENCY_HEAD_REGISTRY.__doc__ = """
Registry for saliency heads, the methods that turn a detection into five saliency maps.

The registered object will be called with `obj(cfg)` and must be a :class:`SaliencyHead`.
"""


def build_saliency_head(cfg: Optional[CfgNode] = None):
    """
    Build the head named by ``cfg.MODEL.SALIENCY_HEAD.NAME``; without a config, the default method.

    Raises:
        ValueError: for an unknown name, whose message lists the known ones, or a value that no
            method can use.
    """
    if cfg is None or "SALIENCY_HEAD" not in cfg.MODEL:
        cfg = get_cfg()
        add_saliency_config(cfg)
    check_values("MODEL.SALIENCY_HEAD", cfg.MODEL.SALIENCY_HEAD)
    name = cfg.MODEL.SALIENCY_HEAD.NAME
    if name not in SALIENCY_HEAD_REGISTRY:
        raise ValueError(
            f"There is no saliency method '{name}'; choose one of {', '.join(method_names())}."
            f"{did_you_mean(name, method_names())}"
        )
    return SALIENCY_HEAD_REGISTRY.get(name)(cfg)


def method_names():
    """Names of all registered methods, sorted."""
    return sorted(name for name, _ in SALIENCY_HEAD_REGISTRY)


def black_box_methods():
    """Names of the methods that explain any object of any detector, sorted."""
    return sorted(name for name, head in SALIENCY_HEAD_REGISTRY if head.black_box)
