"""Builds the parts of an explainer from a config, YAML or lazy: model, augmentation, ..."""

import copy
import logging
from contextlib import contextmanager
from typing import Dict, Iterator, Optional, Sequence

from detectron2.config import CfgNode, get_cfg, instantiate
from detectron2.data import transforms as T

from ..config import add_saliency_config
from ..modeling import build_explainable, explainable
from ..utils.text import one_line
from .config_files import ConfigError

logger = logging.getLogger(__name__)


@contextmanager
def config_errors(config_file: str) -> Iterator[None]:
    """Turn the many kinds of error that building a model raises into a ConfigError."""
    try:
        yield
    except ValueError:  # says what to do: ours
        raise
    except Exception as e:
        raise ConfigError(
            f"No model can be built from the config {config_file!r}: {type(e).__name__}: "
            f"{one_line(e)}"
        ) from e


def from_yaml(cfg: CfgNode) -> Dict:
    """The parts of an explainer by name, from a YAML config."""
    return {
        "model": build_explainable(cfg),
        "weights": cfg.MODEL.WEIGHTS,
        "download": cfg.MODEL.SALIENCY_HEAD.DOWNLOAD,
        "augmentation": T.ResizeShortestEdge(
            [cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST
        ),
        "input_format": cfg.INPUT.FORMAT,
        "data_set": next(iter(cfg.DATASETS.TEST), None),
    }


def from_lazy(cfg, saliency_cfg: Optional[CfgNode]) -> Dict:
    """The same parts, from a lazy config; ``saliency_cfg`` says how to explain."""
    if saliency_cfg is None:
        saliency_cfg = get_cfg()
        add_saliency_config(saliency_cfg)
    device = saliency_cfg.MODEL.DEVICE
    description = copy.copy(cfg.model)
    if "device" in description:  # detrex's, which is "cuda"
        description.device = device
    mapper, names = cfg.dataloader.test.mapper, cfg.dataloader.test.dataset.names
    return {
        "model": explainable(instantiate(description).to(device), saliency_cfg),
        "weights": saliency_cfg.MODEL.WEIGHTS or cfg.train.init_checkpoint,
        "download": saliency_cfg.MODEL.SALIENCY_HEAD.DOWNLOAD,
        "augmentation": T.AugmentationList(
            list(instantiate(_mapper_part(mapper, ("augmentations", "augmentation"), [])))
        ),
        "input_format": _mapper_part(mapper, ("image_format", "img_format"), "BGR"),
        "data_set": names if isinstance(names, str) else next(iter(names), None),
    }


def _mapper_part(mapper, names: Sequence[str], otherwise):
    """Find a part of a mapper by one of its names: Detectron2's first, then detrex's."""
    for name in names:
        if mapper.get(name) is not None:
            return mapper[name]
    logger.warning(
        f"dataloader.test.mapper of the config has no {' or '.join(names)}: images are explained "
        f"with {otherwise or 'their own size'}. Add it if the model was trained otherwise."
    )
    return otherwise
