# Importing a method registers it.
from .build import SALIENCY_HEAD_REGISTRY, build_saliency_head, method_names
from .grad_cam import GradCAM
from .grad_cam_plusplus import GradCAMPlusPlus
from .gradient import Gradient
from .head import SaliencyHead
from .hires_cam import HiResCAM
from .layer_cam import LayerCAM
from .od_smoothgrad import ODSmoothGrad
from .odam import ODAM
from .ss_grad_cam import SSGradCAM
from .ss_grad_cam_plusplus import SSGradCAMPlusPlus

__all__ = [
    "ODAM",
    "SALIENCY_HEAD_REGISTRY",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "HiResCAM",
    "LayerCAM",
    "ODSmoothGrad",
    "SSGradCAM",
    "SSGradCAMPlusPlus",
    "SaliencyHead",
    "build_saliency_head",
    "method_names",
]
