"""Records the feature map of any module of a model, by the module's name."""

import logging
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Sequence

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class LayerError(ValueError):
    """A layer that cannot be chosen, or one that has to be."""


def layer_output(layer: str, recorded: List) -> Tensor:
    """The feature map (B, C, H, W) among what :func:`recorded_output` recorded of a layer."""
    if not recorded or not isinstance(recorded[0], Tensor) or recorded[0].dim() != 4:
        raise LayerError(f"LAYER '{layer}' has no feature map (B, C, H, W) as its output.")
    return recorded[0]


@contextmanager
def recorded_output(model: nn.Module, layer: str) -> Iterator[List[Tensor]]:
    """
    Record what the named module returns inside this context, in a list; nothing stays behind on the
    model.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise LayerError(f"There is no LAYER '{layer}'.")
    outputs: List[Tensor] = []

    def record(module, inputs, output):
        outputs.append(output)
        # The next layer may work in place. It gets a copy, so that the recorded values stay.
        return output.clone() if isinstance(output, Tensor) else None

    handle = modules[layer].register_forward_hook(record)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def named_choices(model: nn.Module, run: Callable[[], object]) -> Iterator[None]:
    """Add to a :class:`LayerError` the names of layers that can be chosen, as a run shows them."""
    try:
        yield
    except LayerError as e:
        names = ", ".join(layer_names(model, run))
        raise LayerError(f"{e} Choose from: {names}.") from e


def layer_names(model: nn.Module, run: Callable[[], object], depth: int = 4) -> List[str]:
    """
    Names of the modules that return a feature map (B, C, H, W), down to a depth that can be read.

    Args:
        run: runs the model on one image.
    """
    found = set()
    handles = [
        module.register_forward_hook(lambda m, i, o: found.add(m) if _is_map(o) else None)
        for module in model.modules()
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [n for n, m in model.named_modules() if n and m in found and n.count(".") < depth]


def warn_of_zeros(layer: str, maps: Sequence[Tensor]) -> None:
    """Say why maps (5, h, w) of detections at a layer are zero, where some are."""
    zero = sum(not bool(m.any()) for m in maps)
    if zero:
        logger.warning(
            f"The maps of {zero} detections are zero at LAYER '{layer}': they were not read from "
            "it. Levels of a pyramid serve objects of different sizes; LAYER auto takes that of "
            "each detection."
        )


def _is_map(output: Any) -> bool:
    """Say whether this is the map of one image: what poolers make has an item a detection."""
    return isinstance(output, Tensor) and output.dim() == 4 and len(output) == 1
