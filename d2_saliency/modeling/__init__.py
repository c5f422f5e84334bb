from .meta_arch import (
    BlackBox,
    SaliencyGeneric,
    SaliencyMixin,
    SaliencyRCNN,
    SaliencyRetinaNet,
    build_explainable,
    explainable,
)
from .saliency_heads import SALIENCY_HEAD_REGISTRY, SaliencyHead, build_saliency_head, method_names
from .targets import differentiable_targets, instance_targets

__all__ = [
    "BlackBox",
    "SALIENCY_HEAD_REGISTRY",
    "SaliencyGeneric",
    "SaliencyHead",
    "SaliencyMixin",
    "SaliencyRCNN",
    "SaliencyRetinaNet",
    "build_explainable",
    "build_saliency_head",
    "explainable",
    "differentiable_targets",
    "instance_targets",
    "method_names",
]
