"""Reads checkpoint files of others as data: it runs nothing that is in them."""

import pickle
from pathlib import Path
from typing import IO, Any, Dict

import numpy as np
import torch

from . import torch_file
from .array_pickle import ARRAY_STATES
from .containers import take_model
from .data_pickle import Budget, DataUnpickler
from .tensor_pickle import TENSOR_NAMES
from .torch_file import load_storage, size_of


def read_checkpoint(path: str, trusted: bool = False) -> Dict[str, Any]:
    """
    The content of a checkpoint, read by its suffix as Detectron2 does, and without running code.

    - ``.pkl`` of Detectron2's, Detectron1's and Caffe2's model zoos: by :mod:`.data_pickle`.
    - ``.safetensors``: a state_dict.
    - ``.pyth`` of pycls, ``.pth`` and anything else: by :mod:`.torch_file`.

    The model's tensors may be kept under the usual names, see :func:`take_model`.

    Args:
        path: a file.
        trusted: unpickle whatever the file holds, which lets it run code.

    Returns:
        dict: "model", names to tensors or arrays, and whatever else the file has.

    Raises:
        CodeError: the file holds objects that are no data.
        NoModelError: it holds no tensors of a model.
        Exception: of any kind: it is damaged or no checkpoint.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        from safetensors.torch import load_file

        checkpoint = {"model": load_file(path)}
    elif suffix == ".pkl":
        with open(path, "rb") as file:
            content = pickle.load(file, encoding="latin1") if trusted else load_pickle(file)
        checkpoint = _from_model_zoo(content, Path(path).name)
    else:
        with open(path, "rb") as file:
            content = _load_unchecked(file) if trusted else torch_file.load(file)
        checkpoint = _from_torch(content, Path(path))
    model = checkpoint["model"].items()
    checkpoint["model"] = {_check_name(name): _as_array(value) for name, value in model}
    return checkpoint


def _load_unchecked(file: IO[bytes]) -> Any:
    return torch.load(file, map_location="cpu", weights_only=False)


def load_pickle(file: IO[bytes]) -> Any:
    """
    Read a file as ``pickle.load`` does, for arrays of numpy, tensors, numbers and plain containers.

    Raises:
        CodeError: the pickle names anything else.
        Exception: of any kind: it is damaged, or unpacks to many times its size.
    """
    budget = Budget(size_of(file))
    # Its tensors are files of torch, whose own function to read them would run code.
    tensors = {("torch.storage", "_load_from_bytes"): lambda content: load_storage(content, budget)}
    return DataUnpickler(file, {**TENSOR_NAMES, **tensors}, ARRAY_STATES, budget).load()


def _from_model_zoo(content: Dict[str, Any], file_name: str) -> Dict[str, Any]:
    if isinstance(content.get("model"), dict):
        return {**content, "model": take_model(content, file_name)}
    blobs = content.get("blobs", content)  # ImageNet models have no "blobs"
    model = {k: v for k, v in blobs.items() if not k.endswith("_momentum") and k != "weight_order"}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _from_torch(content: Any, path: Path) -> Dict[str, Any]:
    model = take_model(content, path.name)
    if path.suffix == ".pyth":
        model = {k: v for k, v in model.items() if not k.endswith("num_batches_tracked")}
        return {"model": model, "__author__": "pycls", "matching_heuristics": True}
    return {"model": model} if model is content else {**content, "model": model}


def _check_name(name: str) -> str:
    """Refuse control characters in a name: names are printed, and the terminal would obey."""
    if not name.isprintable():
        raise ValueError("a tensor's name that cannot be printed")
    return name


def _as_array(value: Any) -> Any:
    """
    Turn numbers into arrays: Detectron2 takes tensors and arrays, and some files have numbers among
    them.
    """
    return np.asarray(value) if isinstance(value, (bool, int, float, np.generic)) else value
