"""Folds batch norms into the convolutions before them: the same function in less work."""

import copy
import logging
import math
from functools import cache
from itertools import chain
from typing import Any, Dict, Iterator, List, Optional, Tuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import Tensor, nn

from .batching import is_out_of_memory
from .detector import Detector
from .forward_pass import ForwardPass

logger = logging.getLogger(__name__)

NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d, NaiveSyncBatchNorm)
"""Norms that are a fixed affine map of each channel in eval mode."""

PLAIN = (Conv2d, nn.Conv2d)
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

Model = TypeVar("Model", bound=nn.Module)

# Detector -> (state of what is folded, whether the copy computes the same). Keys are weak and no
# value holds a module, so nothing keeps a detector alive. Threads need no lock: two that ask at
# the same time both compare, and find the same.
_verdicts: "WeakKeyDictionary[nn.Module, Tuple[List[Tuple], bool]]" = WeakKeyDictionary()


def folded(detector: Detector, batched_input: Dict) -> Detector:
    """
    Return the detector that runs many passes over an image: a copy :func:`without_norms`, or
    itself.

    The first image shows whether the copy computes the same. Where it does not, a warning says so
    and the detector runs as it is. Other weights, or other convolutions to fold, are compared anew.

    The copy is made for each image, so it never lags behind the detector's weights, settings and
    hooks, of which not all changes can be seen. It shares all tensors but those of convolutions.

    Args:
        detector: a :class:`SaliencyMixin`. It is left as it is.
        batched_input: the image, as for the detector's forward.
    """
    state = _state(detector)
    seen, same = _verdicts.get(detector, (None, False))
    if not state or (seen == state and not same):
        return detector
    twin, trouble = _copied(detector)
    if twin is not None and seen != state:
        trouble = _difference(detector, twin, batched_input)
    if trouble is None:
        return detector
    _verdicts[detector] = state, not trouble
    if trouble:
        name = type(detector).__name__
        _warn_once(f"{name} runs as if FOLD_NORMS were off, as slow and as exact: {trouble}.")
    return detector if trouble or twin is None else twin


def without_norms(model: Model) -> Model:
    """
    A copy of a model whose batch norms are part of the convolutions before them.

    A norm is folded if its convolution is Detectron2's own, which holds it, and if both have the
    stock forward: no subclass, hook or parametrization; the norm in eval mode, with statistics and
    an affine map. A model without any such norm is returned as it is.

    Weights of convolutions are channels last, which a CPU likes better, and need no gradients. All
    other tensors are the model's own. Values differ by rounding; where that changes the sign of
    what a ReLU gets, the gradient of single pixels changes with it.
    """
    if not any(_foldable(model)):
        return model
    shared = {id(tensor): tensor for tensor in _tensors(model)}  # deepcopy does not copy these
    twin = copy.deepcopy(model, shared)
    with torch.no_grad():
        for _, conv in list(_foldable(twin)):
            _fold(conv)
        for conv in twin.modules():
            if isinstance(conv, nn.Conv2d) and _is_stock(conv, PLAIN, ("weight",)):
                conv.weight = nn.Parameter(_channels_last(conv.weight), requires_grad=False)
    return twin


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        for values in (module._parameters, module._buffers, vars(module)):
            yield from (value for value in values.values() if isinstance(value, Tensor))


def _fold(conv: Conv2d) -> None:
    """``norm(w * x + b) = (s w) * x + s (b - mean) + bias``, ``s = weight / sqrt(var + eps)``."""
    dtype = conv.weight.dtype
    wide = torch.promote_types(dtype, torch.float32)  # half precision would lose small variances
    weight, bias, mean, var = (getattr(conv.norm, name).to(wide) for name in NORM_TENSORS)
    scale = weight * (var + conv.norm.eps).rsqrt()
    before = 0 if conv.bias is None else conv.bias.to(wide)
    filters = _channels_last(conv.weight).to(wide) * scale[:, None, None, None]
    conv.weight = nn.Parameter(filters.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter((bias + (before - mean) * scale).to(dtype), requires_grad=False)
    conv.norm = None


def _foldable(model: nn.Module) -> Iterator[Tuple[str, Conv2d]]:
    """Names and modules of the convolutions whose norm can be folded."""
    for name, conv in model.named_modules():
        if _is_stock(conv, (Conv2d,), ("weight",)) and _is_stock(conv.norm, NORMS, NORM_TENSORS):
            if isinstance(conv.norm, FrozenBatchNorm2d) or not conv.norm.training:
                yield name, conv


def _is_stock(module: Any, classes: Tuple[type, ...], tensors: Tuple[str, ...]) -> bool:
    """
    Tell whether a module is of these very classes, has plain tensors, and does what its class says.
    """
    return (
        type(module) in classes
        and "forward" not in vars(module)
        and not any(getattr(module, name) for name in HOOKS)
        and all(type(getattr(module, name)) in (Tensor, nn.Parameter) for name in tensors)
    )


def _state(model: nn.Module) -> List[Tuple]:
    """
    List the convolutions that can be folded, and the place and version of all tensors of theirs.
    """
    return [
        (name, t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype, t.device)
        for name, conv in _foldable(model)
        for t in chain(conv.parameters(), conv.buffers())
    ]


def _copied(detector: Detector) -> Tuple[Optional[Detector], Optional[str]]:
    """The detector :func:`without_norms` and an empty text, or None and why there is no copy."""
    try:
        return without_norms(detector), ""
    except Exception as e:  # a part of the model may refuse to be copied in its own way
        if is_out_of_memory(e):
            raise
        return None, f"it cannot be copied ({_first_line(e)})"


def _difference(detector: Detector, twin: Detector, batched_input: Dict) -> Optional[str]:
    """
    Say in words what a copy does otherwise than the detector beyond rounding.

    Empty if it does the same; None if the image does not show it.
    """
    with torch.no_grad():
        expected = detector.run([batched_input])
        detected = _detections(detector, expected)
        if not expected.features and not len(detected):
            return None
        weights = [conv.weight for _, conv in _foldable(detector)]
        tolerance = max(map(_tolerance, chain(weights, expected.features.values())))
        try:
            found = twin.run([batched_input])
            same = _agree(expected.features, found.features, tolerance)
            same = same and _found_again(detected, _detections(twin, found), tolerance)
        except (AttributeError, TypeError, RuntimeError) as e:  # code that uses a norm fails so
            if is_out_of_memory(e):
                raise
            return f"without its norms it fails ({_first_line(e)})"
    return "" if same else "without its norms it computes something else"


def _detections(detector: Detector, forward_pass: ForwardPass) -> Tensor:
    """A row for each detection: its box in shares of the image's longer side, its class vector."""
    outputs = detector.outputs(forward_pass)[0]
    rows = torch.cat([outputs.raw_boxes / max(outputs.image_size), outputs.class_vectors], dim=1)
    return rows[rows.isfinite().all(dim=1)]


def _found_again(expected: Tensor, found: Tensor, tolerance: float) -> bool:
    """
    Tell whether most rows are there, in any order. Rounding may move a few across a threshold.
    """
    if not len(expected) or not len(found):
        return not len(expected)
    wide = torch.promote_types(expected.dtype, torch.float32)  # cdist knows no half precision
    nearest = torch.cdist(expected.to(wide), found.to(wide), p=math.inf).amin(dim=1)
    return bool(nearest.median() <= tolerance)


def _agree(expected: Dict[str, Tensor], found: Dict[str, Tensor], tolerance: float) -> bool:
    """
    Tell whether feature maps are the same, in comparison with the largest value of each level.
    """
    errors = {level: (a - found[level]).abs().amax() for level, a in expected.items()}
    return all(errors[level] <= tolerance * a.abs().amax() for level, a in expected.items())


def _tolerance(values: Tensor) -> float:
    """Half of the digits. Rounding costs fewer: single precision and ResNet-50-FPN, a hundredth."""
    tf32 = values.is_cuda and values.dtype == torch.float32 and torch.backends.cudnn.allow_tf32
    return (2.0**-10 if tf32 else torch.finfo(values.dtype).eps) ** 0.5


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
