"""Records the feature map of any module of a model, by the module's name."""

from contextlib import contextmanager
from typing import Iterator, List

from torch import Tensor, nn


def layer_output(model: nn.Module, layer: str, recorded: List) -> Tensor:
    """The feature map (B, C, H, W) among what :func:`recorded_output` recorded of a layer."""
    if not recorded or not isinstance(recorded[0], Tensor) or recorded[0].dim() != 4:
        choices = ", ".join(layer_names(model))
        raise ValueError(
            f"LAYER '{layer}' has no feature map (B, C, H, W) as its output. Choose from: "
            f"{choices}."
        )
    return recorded[0]


@contextmanager
def recorded_output(model: nn.Module, layer: str) -> Iterator[List[Tensor]]:
    """
    Record what the named module returns inside this context, in a list; nothing stays behind on the
    model.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise ValueError(
            f"There is no LAYER '{layer}'. Choose from: {', '.join(layer_names(model))}."
        )
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


def layer_names(model: nn.Module, depth: int = 4) -> List[str]:
    """Names of modules that have convolutions in them, down to a depth that can be read."""
    convolutional = (
        n for n, m in model.named_modules() if any(isinstance(c, nn.Conv2d) for c in m.modules())
    )
    return [name for name in convolutional if name and name.count(".") < depth]
