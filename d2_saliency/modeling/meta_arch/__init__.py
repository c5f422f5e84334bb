# Importing an architecture registers it.
from .base import ForwardPass, SaliencyMixin
from .build import build_explainable, explainable
from .generic import SaliencyGeneric
from .rcnn import SaliencyRCNN
from .retinanet import SaliencyRetinaNet

__all__ = [
    "ForwardPass",
    "SaliencyGeneric",
    "SaliencyMixin",
    "SaliencyRCNN",
    "SaliencyRetinaNet",
    "build_explainable",
    "explainable",
]
