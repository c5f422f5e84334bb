"""Loads a checkpoint into a detector, or says in one line why that cannot be."""

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import ContextManager, Optional, Union

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from torch import nn

from ..utils.downloads import DEFAULT_LIMITS, DownloadError, LimitError, Limits, fetched, is_address
from .checkpoint_files import read_checkpoint
from .containers import NoModelError, strip_prefix
from .data_pickle import CodeError

logger = logging.getLogger(__name__)


class WeightsError(ValueError):
    """The weights cannot be used; the message names the file and the option."""


def find_weights(weights: str, config_file: str = "") -> str:
    """
    Find the file named by a config's ``MODEL.WEIGHTS``.

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


def load_weights(
    model: nn.Module, weights: str, trusted: bool = False, limits: Limits = DEFAULT_LIMITS
) -> None:
    """
    Load ``weights`` (a file, or an address known to Detectron2; see :func:`read_checkpoint`) into
    ``model``.

    Args:
        trusted: allow the file to run code.
        limits: of a download. What is no checkpoint, or holds code, does not stay in the cache.

    Raises:
        WeightsError: they cannot be fetched or read, hold more than data, or lack a parameter of
            the model in its shape, or have NaN or infinity in one.
    """
    if not weights:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model has random weights, so its detections mean nothing."
        )
        return
    try:
        with _local_file(weights, limits) as file:
            # Detectron2's `load` would unpickle, and only warn of weights that do not fit: a half
            # random model.
            checkpoint = read_checkpoint(str(file), trusted)
            if not checkpoint.get("matching_heuristics"):  # which find names of other kinds
                checkpoint["model"] = strip_prefix(checkpoint["model"], model.state_dict())
            incompatible = DetectionCheckpointer(model)._load_model(checkpoint)
    except DownloadError as e:
        raise WeightsError(f"The weights {weights!r} cannot be fetched ({e}). {_advice(e)}") from e
    except (CodeError, NoModelError) as e:
        raise WeightsError(f"The weights '{weights}' {e}.") from None
    except WeightsError:
        raise
    except Exception as e:  # a damaged file may raise anything
        again = (
            "the same command fetches them again" if is_address(weights) else "download them again"
        )
        raise WeightsError(
            f"The weights '{weights}' are damaged, no checkpoint, or hold more than tensors "
            f"({type(e).__name__}): {again}, or save the model's state_dict alone."
        ) from e
    problem = _describe(incompatible, len(model.state_dict())) or _not_finite(model)
    if problem:
        raise WeightsError(f"The weights '{weights}' {problem}")
    if incompatible.unexpected_keys:
        unused = incompatible.unexpected_keys
        logger.warning(
            f"{len(unused)} tensors of the weights '{weights}' are not used by this model "
            f"({unused[0]}, ...)."
        )


def _local_file(weights: str, limits: Limits) -> ContextManager[Union[str, Path]]:
    if is_address(weights):
        return fetched(weights, limits)
    try:
        local = PathManager.get_local_path(weights)
    except Exception as e:  # handlers that a user registered raise what their library raises
        raise DownloadError(_first_line(e)) from e
    if not os.path.isfile(local):
        raise WeightsError(
            f"The weights '{weights}' do not exist. Name a checkpoint with --opts MODEL.WEIGHTS "
            "FILE."
        )
    return nullcontext(local)


def _advice(error: DownloadError) -> str:
    advice = "Download them by other means and name the file with --opts MODEL.WEIGHTS FILE."
    if isinstance(error, LimitError):
        key = "MODEL.SALIENCY_HEAD.DOWNLOAD"
        return f"Allow more with --opts {key}.MAX_MB or {key}.MAX_SECONDS. Or: {advice}"
    return advice


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
        f"{num_parameters} tensors ({examples}, ...). Name weights that were trained with this "
        "config with --opts MODEL.WEIGHTS FILE."
    )


def _not_finite(model: nn.Module) -> Optional[str]:
    """Name a tensor with which a detector finds nothing, and says nothing."""
    parameters = {name for name, _ in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        # Infinity is at home in other buffers, such as masks of attention.
        learned = name in parameters or name.endswith(("running_mean", "running_var"))
        wrong = ~tensor.isfinite() if learned else tensor.isnan()
        if wrong.any():
            return (
                f"have NaN or infinity in '{name}', {int(wrong.sum())} of its {wrong.numel()} "
                "values: the training diverged, or the file is damaged. Name other weights with "
                "--opts MODEL.WEIGHTS FILE."
            )
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
