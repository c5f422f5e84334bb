"""From a built model to one that explains itself."""

import copy
import logging
from typing import Optional, Type

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from torch import nn

from ..saliency_heads.build import build_saliency_head
from .base import SaliencyMixin
from .generic import SaliencyGenericMixin
from .rcnn import SaliencyRCNNMixin, roi_outputs
from .retinanet import SaliencyRetinaNetMixin

logger = logging.getLogger(__name__)


def explainable(model: nn.Module, cfg: Optional[CfgNode] = None) -> nn.Module:
    """
    An explaining version of any built model, weights and all.

    The result shares parameters, buffers and submodules with ``model``, which stays as it was; its class is a subclass
    of the model's, so checkpoint keys and training stay those of the model.

    Args:
        model: a detector with Detectron2's input and output format.
        cfg: config with the keys of :func:`add_saliency_config`; default: ODSmoothGrad as in its paper. Another method
            for the same model: ``model.saliency_head = build_saliency_head(cfg)``.
    """
    mixin = _mixin_for(model)
    if mixin is SaliencyGenericMixin:
        logger.warning(
            f"{type(model).__name__} is an unknown architecture: it is explained through the Instances it returns. "
            "Clipped coordinates have no gradient, and only the predicted class can be explained."
        )
    return _with_mixin(model, mixin, cfg)


def as_generic(model: nn.Module, cfg: Optional[CfgNode] = None) -> nn.Module:
    """:func:`explainable`, but through the model's ``Instances`` even if its architecture is known."""
    return _with_mixin(model, SaliencyGenericMixin, cfg)


def build_explainable(cfg: CfgNode) -> nn.Module:
    """Build the model of a config, stock or ours, so that it explains itself. Weights are not loaded."""
    model = build_model(cfg)
    return model if isinstance(model, SaliencyMixin) else explainable(model, cfg)


def _mixin_for(model: nn.Module) -> Type[SaliencyMixin]:
    # An architecture that replaced the forward of a known one may do anything.
    forward = type(model).forward
    if isinstance(model, GeneralizedRCNN) and forward is GeneralizedRCNN.forward:
        if roi_outputs.dispatch(type(model.roi_heads)) is not roi_outputs.dispatch(object):
            return SaliencyRCNNMixin
    if isinstance(model, RetinaNet) and forward is RetinaNet.forward:
        return SaliencyRetinaNetMixin
    return SaliencyGenericMixin


def _with_mixin(model: nn.Module, mixin: Type[SaliencyMixin], cfg: Optional[CfgNode]) -> nn.Module:
    if isinstance(model, SaliencyMixin):
        raise ValueError(f"{type(model).__name__} is explainable already; set its saliency_head to change the method.")
    cls = type(model)
    twin = copy.copy(model)
    # nn.Module keeps these in dicts, which a shallow copy shares: setting the twin's head must not change the model.
    for name in ("_modules", "_parameters", "_buffers"):
        twin.__dict__[name] = copy.copy(model.__dict__[name])
    twin.__class__ = type(f"Saliency{cls.__name__}", (mixin, cls), {})
    twin.saliency_head = build_saliency_head(cfg)
    return twin
