"""Makes a built model explain itself."""

import logging
from typing import Any, Optional, Tuple, Type

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn

from ..saliency_heads.build import build_saliency_head
from .base import SaliencyMixin
from .generic import SaliencyGenericMixin
from .kinds import asked_kind, mixin_for, mixin_of
from .parity import ParityMixin
from .twin import twin_of, unwrapped

logger = logging.getLogger(__name__)


def explainable(model: nn.Module, cfg: Optional[CfgNode] = None, kind: str = "") -> SaliencyMixin:
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
        kind: "rcnn", "panoptic", "retinanet" or "fcos": treat the model as one of these though its
            class overrides something, as those do that change training alone. Its own detections
            must be those of the kind on the first images, or a ValueError says so.

    Raises:
        ValueError: for what is explainable already, or runs otherwise than by its ``forward``, as
            test-time augmentation does.
    """
    twin = twin_of(_runs_by_forward(model))
    kind = kind or asked_kind(twin)
    if kind:
        return _with_mixins(twin, (ParityMixin, mixin_for(twin, kind)), cfg)
    mixin, why_unknown = mixin_of(twin)
    if why_unknown:
        logger.warning(
            f"{type(twin).__name__} is an unknown architecture: {why_unknown}. It is explained "
            "through the Instances it returns. Clipped coordinates have no gradient, and only the "
            "predicted class can be explained. If it infers as a stock architecture does, say so: "
            'explainable(model, cfg, kind="rcnn").'
        )
    return _with_mixins(twin, (mixin,), cfg)


def as_generic(model: nn.Module, cfg: Optional[CfgNode] = None) -> SaliencyMixin:
    """
    :func:`explainable`, but through the model's ``Instances`` even if its architecture is known.
    """
    return _with_mixins(twin_of(_runs_by_forward(model)), (SaliencyGenericMixin,), cfg)


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
    if isinstance(model, SaliencyMixin):
        raise ValueError(
            f"{name} is explainable already; set its saliency_head to change the method."
        )
    if type(model).__call__ is not nn.Module.__call__:
        inside = [name for name, _ in model.named_children()]
        raise ValueError(
            f"{type(model).__name__} has a __call__ of its own, as test-time augmentation has. "
            "That merges the detections of several images, which have no maps. Explain the model "
            f"inside (one of its parts {', '.join(inside)}), for example "
            f"explainable(model.{(inside or ['model'])[0]})."
        )
    return model


def _with_mixins(
    twin: Any, mixins: Tuple[Type[SaliencyMixin], ...], cfg: Optional[CfgNode]
) -> SaliencyMixin:
    """Make a twin of the user's model, which nobody else has, explain itself."""
    cls = type(twin)
    explaining_class: Any = type(f"Saliency{cls.__name__}", (*mixins, cls), {})
    if SaliencyGenericMixin in mixins:
        twin = explaining_class.around(twin)
    else:
        twin.__class__ = explaining_class
    twin.saliency_head = build_saliency_head(cfg)
    return twin
