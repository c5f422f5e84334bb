# Importing an architecture registers it.
from .base import ForwardPass, SaliencyMixin
from .black_box import BlackBox
from .build import build_explainable, explainable
from .fcos import SaliencyFCOS
from .generic import SaliencyGeneric
from .panoptic import SaliencyPanopticFPN
from .rcnn import SaliencyRCNN
from .retinanet import SaliencyRetinaNet

__all__ = [
    "BlackBox",
    "ForwardPass",
    "SaliencyFCOS",
    "SaliencyGeneric",
    "SaliencyMixin",
    "SaliencyPanopticFPN",
    "SaliencyRCNN",
    "SaliencyRetinaNet",
    "build_explainable",
    "explainable",
]
