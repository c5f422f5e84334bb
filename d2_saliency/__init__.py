"""
d2_saliency: five saliency maps (class, x_min, y_min, x_max, y_max) for each of a Detectron2 model's
detections.
"""

import warnings

# Detectron2 and fvcore use parts of torch that newer versions warn of; that is not the user's to
# read.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import detectron2.modeling  # noqa: F401

# config
from .config import add_saliency_config

# data sets with known causes (registered by import)
from . import data  # isort: skip

# models and methods (registered by import)
from .modeling import (
    CLASS_TARGETS,
    SALIENCY_HEAD_REGISTRY,
    BlackBox,
    SaliencyHead,
    build_explainable,
    build_saliency_head,
    explainable,
    method_names,
)

# what they return
from .structures import OUTPUTS, SaliencyMaps

__version__ = "0.1.0"

__all__ = [
    "BlackBox",
    "CLASS_TARGETS",
    "OUTPUTS",
    "SALIENCY_HEAD_REGISTRY",
    "SaliencyHead",
    "SaliencyMaps",
    "add_saliency_config",
    "build_explainable",
    "build_saliency_head",
    "data",
    "explainable",
    "method_names",
]
