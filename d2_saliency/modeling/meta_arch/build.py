"""From a built model to one that explains itself."""

import logging
from typing import Any, Optional, Type

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, PanopticFPN, build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers, ROIHeads
from torch import nn

from ..saliency_heads.build import build_saliency_head
from .base import SaliencyMixin
from .fcos import SaliencyFCOSMixin
from .generic import SaliencyGenericMixin
from .panoptic import SaliencyPanopticFPNMixin
from .rcnn import SaliencyRCNNMixin
from .retinanet import SaliencyRetinaNetMixin
from .roi_outputs import roi_outputs
from .twin import twin_of, unwrapped

logger = logging.getLogger(__name__)


def explainable(model: nn.Module, cfg: Optional[CfgNode] = None) -> SaliencyMixin:
    """
    An explaining version of any built model, weights and all.

    The result shares parameters and buffers with ``model``, which stays as it was, modes included
    (:func:`twin_of`). Its class is a subclass of the model's, so checkpoint keys and training stay
    those of the model.

    Args:
        model: a detector with Detectron2's input and output format. A compiled, DataParallel or DDP
            model is unwrapped: the result explains the model inside.
        cfg: config with the keys of :func:`add_saliency_config`; default: ODSmoothGrad as in its
            paper. Another method for the same model: ``model.saliency_head =
            build_saliency_head(cfg)``.

    Raises:
        ValueError: for what is explainable already, or runs otherwise than by its ``forward``, as
            test-time augmentation does.
    """
    model = _runs_by_forward(model)
    mixin = _mixin_for(model)
    if mixin is SaliencyGenericMixin:
        logger.warning(
            f"{type(model).__name__} is an unknown architecture: it is explained through the "
            "Instances it returns. "
            "Clipped coordinates have no gradient, and only the predicted class can be explained."
        )
    return _with_mixin(model, mixin, cfg)


def as_generic(model: nn.Module, cfg: Optional[CfgNode] = None) -> SaliencyMixin:
    """
    :func:`explainable`, but through the model's ``Instances`` even if its architecture is known.
    """
    return _with_mixin(_runs_by_forward(model), SaliencyGenericMixin, cfg)


@META_ARCH_REGISTRY.register()
def SaliencyGeneric(cfg):
    """
    Build ``MODEL.SALIENCY_HEAD.META_ARCHITECTURE`` and make it explainable through its
    ``Instances`` alone.
    """
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.SALIENCY_HEAD.META_ARCHITECTURE)
    return as_generic(architecture(cfg), cfg)


def build_explainable(cfg: CfgNode) -> SaliencyMixin:
    """
    Build the model of a config, stock or ours, so that it explains itself. Weights are not loaded.
    """
    model = build_model(cfg)
    return model if isinstance(model, SaliencyMixin) else explainable(model, cfg)


def _runs_by_forward(model: Any) -> nn.Module:
    """The model without what is wrapped around it; ValueError if calling it is not its forward."""
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} is no torch.nn.Module: pass the model, not what runs it.")
    model = unwrapped(model)
    if type(model).__call__ is not nn.Module.__call__:
        inside = [name for name, _ in model.named_children()]
        raise ValueError(
            f"{type(model).__name__} has a __call__ of its own, as test-time augmentation has. "
            "That merges the detections of several images, which have no maps. Explain the model "
            f"inside (one of its parts {', '.join(inside)}), for example "
            f"explainable(model.{(inside or ['model'])[0]})."
        )
    return model


def _mixin_for(model: Any) -> Type[SaliencyMixin]:
    if _inherits(model, PanopticFPN, "forward", "inference") and _knows_roi_heads(model.roi_heads):
        return SaliencyPanopticFPNMixin
    if _inherits(model, GeneralizedRCNN, "forward", "inference") and _knows_roi_heads(
        model.roi_heads
    ):
        return SaliencyRCNNMixin
    if _inherits(model, RetinaNet, "forward"):
        return SaliencyRetinaNetMixin
    if _inherits(model, FCOS, "forward"):
        return SaliencyFCOSMixin
    return SaliencyGenericMixin


def _knows_roi_heads(roi_heads: ROIHeads) -> bool:
    """
    Whether :func:`roi_outputs` says what these RoI heads do, and not only what a class they derive
    from did.
    """
    known = next(cls for cls in type(roi_heads).__mro__ if cls in roi_outputs.registry)
    if known is object or not _inherits(
        roi_heads, known, "forward", "_forward_box", "_shared_roi_transform"
    ):
        return False
    predictors = (
        roi_heads.box_predictor
        if isinstance(roi_heads, CascadeROIHeads)
        else [roi_heads.box_predictor]
    )
    return all(_inherits(predictor, FastRCNNOutputLayers, "inference") for predictor in predictors)


def _inherits(module: nn.Module, base: type, *methods: str) -> bool:
    """
    Whether a module is a ``base`` with these methods as they are there: who replaced one may do
    anything.
    """
    same = (getattr(type(module), name, None) is getattr(base, name, None) for name in methods)
    return isinstance(module, base) and all(same)


def _with_mixin(
    model: nn.Module, mixin: Type[SaliencyMixin], cfg: Optional[CfgNode]
) -> SaliencyMixin:
    if isinstance(model, SaliencyMixin):
        raise ValueError(
            f"{type(model).__name__} is explainable already; set its saliency_head to change the "
            "method."
        )
    cls = type(model)
    explaining_class: Any = type(f"Saliency{cls.__name__}", (mixin, cls), {})
    twin = twin_of(model)
    if mixin is SaliencyGenericMixin:
        twin = explaining_class.around(twin)
    else:
        twin.__class__ = explaining_class
    twin.saliency_head = build_saliency_head(cfg)
    return twin
