# Importing a method registers it.
from .build import SALIENCY_HEAD_REGISTRY, build_saliency_head, method_names
from .cam import CAM
from .d_rise import DRISE
from .grad_cam import GradCAM
from .grad_cam_plusplus import GradCAMPlusPlus
from .gradient import Gradient
from .guided_backprop import GuidedBackprop, GuidedGradCAM
from .head import SaliencyHead
from .hires_cam import HiResCAM
from .integrated_gradients import IntegratedGradients
from .layer_cam import LayerCAM
from .od_smoothgrad import ODSmoothGrad
from .odam import ODAM
from .smooth_grad_cam_plusplus import SmoothGradCAMPlusPlus
from .ss_grad_cam import SSGradCAM
from .ss_grad_cam_plusplus import SSGradCAMPlusPlus

__all__ = [
    "CAM",
    "DRISE",
    "ODAM",
    "SALIENCY_HEAD_REGISTRY",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "ODSmoothGrad",
    "SSGradCAM",
    "SSGradCAMPlusPlus",
    "SaliencyHead",
    "SmoothGradCAMPlusPlus",
    "build_saliency_head",
    "method_names",
]
