"""
The saliency methods by name, and what each does. Imports no torch, so that --help can list them.

A line here is all it takes to register a method: ``modeling/saliency_heads`` imports the files that
are named, and each registers its classes.
"""

from typing import Dict, NamedTuple


class Method(NamedTuple):
    """
    Attributes:
        file: module of ``d2_saliency.modeling.saliency_heads`` that registers it.
        about: what it does, in one line.
    """

    file: str
    about: str


METHODS: Dict[str, Method] = {
    "ODSmoothGrad": Method("od_smoothgrad", "mean gradient to the pixels over noisy images"),
    "Gradient": Method("gradient", "gradient of each output to the pixels"),
    "IntegratedGradients": Method("integrated_gradients", "gradients on the way from a baseline"),
    "GuidedBackprop": Method("guided_backprop", "gradient whose negative parts stop at each ReLU"),
    "GuidedGradCAM": Method("guided_backprop", "GuidedBackprop times GradCAM"),
    "GradCAM": Method("grad_cam", "channels of a feature level, weighted by their mean gradient"),
    "GradCAMPlusPlus": Method("grad_cam_plusplus", "GradCAM with weights of higher derivatives"),
    "SmoothGradCAMPlusPlus": Method("smooth_grad_cam_plusplus", "GradCAMPlusPlus under noise"),
    "SSGradCAM": Method("ss_grad_cam", "GradCAM times where each channel's gradient lies"),
    "SSGradCAMPlusPlus": Method("ss_grad_cam_plusplus", "GradCAMPlusPlus times the same"),
    "ODAM": Method("odam", "activation times smoothed gradient, cell by cell"),
    "HiResCAM": Method("hires_cam", "activation times gradient, cell by cell"),
    "LayerCAM": Method("layer_cam", "activation times positive gradient, cell by cell"),
    "CAM": Method("cam", "channels weighted by the class's weights, for C4 models only"),
    "DRISE": Method("d_rise.head", "random masks hide parts of the image: for any detector"),
}

REFERENCES = ("TrueCause", "InvertedCause", "Random")
"""Maps of known worth (``evaluation/reference_maps.py``), which a metric should tell apart."""
