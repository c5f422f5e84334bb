# Importing an architecture registers it.
from ..forward_pass import ForwardPass
from .base import SaliencyMixin
from .black_box import BlackBox
from .build import SaliencyGeneric, build_explainable, explainable
from .fcos import SaliencyFCOS
from .kinds import treat_as
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
    "treat_as",
]
