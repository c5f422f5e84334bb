"""Load a checkpoint into a detector, or say in one line why that cannot be."""

import logging
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from torch import nn

from .array_pickle import CodeError
from .checkpoint_files import read_checkpoint

logger = logging.getLogger(__name__)

TIMEOUT = 20  # seconds that a server may be silent


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file and the option."""


def find_weights(weights: str, config_file: str = "") -> str:
    """
    Where the file named by a config's ``MODEL.WEIGHTS`` is.

    A relative path is looked up from the working directory, then from the folder of the config file
    and its parents, so that a config that is shipped with its weights works from anywhere.

    Raises:
        WeightsError: the file does not exist and is no address either.
    """
    if not weights or "://" in weights or os.path.isfile(weights):
        return weights
    for folder in Path(config_file).resolve().parents if config_file else ():
        if (folder / weights).is_file():
            return str(folder / weights)
    raise WeightsError(
        f"The weights '{weights}' do not exist. Name a checkpoint with --opts MODEL.WEIGHTS FILE."
    )


def load_weights(model: nn.Module, weights: str, trusted: bool = False) -> None:
    """
    Load ``weights`` (a file, or an address known to Detectron2; see :func:`read_checkpoint`) into
    ``model``.

    Args:
        trusted: allow the file to run code.

    Raises:
        WeightsError: they cannot be read, hold more than data, or lack a parameter of the model in
            its shape.
    """
    if not weights:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model has random weights, so its detections mean nothing."
        )
        return
    local = _download(weights)
    try:
        # Detectron2's `load` would unpickle, and only warn of weights that do not fit: a half
        # random model.
        incompatible = DetectionCheckpointer(model)._load_model(read_checkpoint(local, trusted))
    except CodeError as e:
        raise WeightsError(f"The weights '{weights}' {e}.") from None
    except Exception as e:  # a damaged file may raise anything
        raise WeightsError(
            f"The weights '{weights}' are damaged, no checkpoint, or hold more than tensors "
            f"({type(e).__name__}): "
            "download them again, or save the model's state_dict alone."
        ) from e
    problem = _describe(incompatible, len(model.state_dict()))
    if problem:
        raise WeightsError(f"The weights '{weights}' {problem}")
    if incompatible.unexpected_keys:
        unused = incompatible.unexpected_keys
        logger.warning(
            f"{len(unused)} tensors of the weights '{weights}' are not used by this model "
            f"({unused[0]}, ...)."
        )


def _download(weights: str) -> str:
    try:
        with _timeout(TIMEOUT):
            local = PathManager.get_local_path(weights)
    except Exception as e:  # handlers raise what their network library raises
        raise WeightsError(
            f"The weights '{weights}' cannot be fetched ({_first_line(e)}). Download them by other "
            "means and name the "
            "file with --opts MODEL.WEIGHTS FILE."
        ) from e
    if not os.path.isfile(local):
        raise WeightsError(
            f"The weights '{weights}' do not exist. Name a checkpoint with --opts MODEL.WEIGHTS "
            "FILE."
        )
    return local


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Without it, a network that swallows packets lets a download wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _describe(incompatible, num_parameters: int) -> Optional[str]:
    wrong = [key for key, *_ in incompatible.incorrect_shapes]
    lost = [
        key
        for key in incompatible.missing_keys
        if key not in wrong and not key.endswith("num_batches_tracked")
    ]
    if not lost and not wrong:
        return None
    counts = [
        f"lack {len(lost)}" * bool(lost),
        f"have another shape for {len(wrong)}" * bool(wrong),
    ]
    examples = ", ".join((lost + wrong)[:3])
    return (
        f"do not fit this model: they {' and '.join(c for c in counts if c)} of its "
        f"{num_parameters} tensors "
        f"({examples}, ...). Name weights that were trained with this config with --opts "
        "MODEL.WEIGHTS FILE."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
