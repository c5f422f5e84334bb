"""Checks a model before its first image, so that a run fails at once and not image by image."""

from torch import nn

from .config_files import ConfigError
from .detector_classes import num_classes


def check_pixels(model: nn.Module) -> None:
    """
    Refuse values with which a detector finds nothing, and says nothing.

    Raises:
        ConfigError: PIXEL_MEAN is not finite, or PIXEL_STD is not finite and above 0.
    """
    for name, values in model.named_buffers():
        kind = name.rpartition(".")[2]
        wrong = ~values.isfinite() | ((values <= 0) & (kind == "pixel_std"))
        if kind in ("pixel_mean", "pixel_std") and wrong.any():
            raise ConfigError(
                f"MODEL.{kind.upper()} is {values.flatten().tolist()}; it is a finite number for "
                "each channel, above 0 for PIXEL_STD: use that of the training."
            )


def check_class(model: nn.Module, label: int, what: str = "") -> None:
    """
    Args:
        label: index of a class that somebody asks for.
        what: says where, in the message.

    Raises:
        ValueError: the model is known not to have it.
    """
    count = num_classes(model)
    if label < 0 or (count is not None and label >= count):
        known = f"the model has the classes 0 to {count - 1}" if count else "classes begin at 0"
        raise ValueError(f"{what}There is no class {label}: {known}.")
