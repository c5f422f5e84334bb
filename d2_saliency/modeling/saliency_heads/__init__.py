# Importing a method registers it.
from .build import SALIENCY_HEAD_REGISTRY, build_saliency_head, method_names
from .gradient import Gradient
from .head import SaliencyHead
from .od_smoothgrad import ODSmoothGrad

__all__ = [
    "SALIENCY_HEAD_REGISTRY",
    "Gradient",
    "ODSmoothGrad",
    "SaliencyHead",
    "build_saliency_head",
    "method_names",
]
