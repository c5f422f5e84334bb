"""Says which of the known kinds of detectors a model is, and why it is of none."""

from typing import Any, Dict, List, NamedTuple, Tuple, Type

from detectron2.modeling import GeneralizedRCNN, PanopticFPN
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers, ROIHeads
from torch import nn

from .base import SaliencyMixin
from .fcos import SaliencyFCOSMixin
from .generic import OURS, SaliencyGenericMixin
from .panoptic import SaliencyPanopticFPNMixin
from .rcnn import SaliencyRCNNMixin
from .retinanet import SaliencyRetinaNetMixin
from .roi_outputs import roi_outputs


class Kind(NamedTuple):
    """A stock architecture, what explains it, and the methods that must be the stock ones."""

    base: type
    mixin: Type[SaliencyMixin]
    methods: Tuple[str, ...]


KINDS = {
    "panoptic": Kind(PanopticFPN, SaliencyPanopticFPNMixin, ("forward", "inference")),
    "rcnn": Kind(GeneralizedRCNN, SaliencyRCNNMixin, ("forward", "inference")),
    "retinanet": Kind(RetinaNet, SaliencyRetinaNetMixin, ("forward",)),
    "fcos": Kind(FCOS, SaliencyFCOSMixin, ("forward",)),
}
"""Kinds by name; one that derives from another comes first."""

_treated_as: Dict[type, str] = {}


def treat_as(cls: type, kind: str) -> None:
    """
    Explain all models of a class and its subclasses as one of ``KINDS``; see :func:`explainable`.

    Examples:
        ```python
        treat_as(TwoStagePseudoLabGeneralizedRCNN, "rcnn")  # in a file for --import
        ```
    """
    _kind(kind)
    _treated_as[cls] = kind


def asked_kind(model: nn.Module) -> str:
    """Find what :func:`treat_as` says of a model's class, or ""."""
    return next((_treated_as[c] for c in type(model).__mro__ if c in _treated_as), "")


def mixin_of(model: nn.Module) -> Tuple[Type[SaliencyMixin], str]:
    """Find what explains a model, and why its architecture is unknown; "" where it is known."""
    for kind in KINDS.values():
        if isinstance(model, kind.base):
            why = "; ".join(_own(model, kind.base, kind.methods) + _names(model, kind.base))
            why = why or _why_unknown_heads(model)
            return (SaliencyGenericMixin, why) if why else (kind.mixin, "")
    bases = ", ".join(kind.base.__name__ for kind in KINDS.values())
    return SaliencyGenericMixin, f"it derives from none of {bases}"


def mixin_for(model: nn.Module, kind: str) -> Type[SaliencyMixin]:
    """Find what explains a model as a kind; ValueError where that cannot be."""
    base, mixin, _ = _kind(kind)
    if not isinstance(model, base):
        raise ValueError(
            f"{type(model).__name__} cannot be treated as '{kind}': it is no {base.__name__}."
        )
    roi_heads = getattr(model, "roi_heads", None)
    if isinstance(roi_heads, ROIHeads) and _known_heads(roi_heads) is object:
        raise ValueError(
            f"{type(model).__name__} cannot be treated as '{kind}': {_why_unknown_heads(model)}."
        )
    return mixin


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ValueError(f"There is no kind '{name}'. Choose from: {', '.join(KINDS)}.")
    return KINDS[name]


def _own(module: nn.Module, base: type, methods: Tuple[str, ...]) -> List[str]:
    """List methods that are not those of ``base``: who replaced one may do anything."""
    found = []
    for name in methods:
        if name in vars(module):
            found.append(f"the {name} of its {type(module).__name__} was replaced")
        elif getattr(type(module), name, None) is not getattr(base, name, None):
            owner = next(cls for cls in type(module).__mro__ if name in vars(cls))
            found.append(f"{owner.__name__} has its own {name}")
    return found


def _names(model: nn.Module, base: type) -> List[str]:
    """Names of the model's own that ours would hide from it."""
    return _own(model, base, tuple(sorted(OURS - {"from_config"})))


def _why_unknown_heads(model: Any) -> str:
    """
    Why :func:`roi_outputs` cannot say what a model's RoI heads do; "" if it can, or there are none.
    """
    if not isinstance(model, GeneralizedRCNN):
        return ""
    heads = model.roi_heads
    known = _known_heads(heads)
    if known is object:
        return f"its RoI heads, {type(heads).__name__}, are of no known kind"
    cascade = isinstance(heads, CascadeROIHeads)
    found = _own(heads, known, ("forward", "_forward_box", "_shared_roi_transform"))
    for predictor in heads.box_predictor if cascade else [heads.box_predictor]:
        if not isinstance(predictor, FastRCNNOutputLayers):
            found.append(f"{type(predictor).__name__} is no FastRCNNOutputLayers")
        found += _own(predictor, FastRCNNOutputLayers, ("inference",))
    return "; ".join(dict.fromkeys(found))


def _known_heads(roi_heads: nn.Module) -> type:
    return next(cls for cls in type(roi_heads).__mro__ if cls in roi_outputs.registry)
