"""Reads checkpoint files of others as data: nothing in them is run."""

import pickle
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ContextManager, Dict, List

import numpy as np
import torch

from ..checkpoint import array_pickle
from .array_pickle import ADMITTED, CodeError


def read_checkpoint(path: str, trusted: bool = False) -> Dict[str, Any]:
    """
    The content of a checkpoint, read by its suffix as Detectron2 does, and without running code.

    - ``.pkl`` of Detectron2's, Detectron1's and Caffe2's model zoos: by :mod:`.array_pickle`.
    - ``.safetensors``: a state_dict.
    - ``.pyth`` of pycls, ``.pth`` and anything else: by torch with ``weights_only``.

    Args:
        path: a file.
        trusted: unpickle whatever the file holds, which lets it run code.

    Returns:
        dict: "model", names to tensors or arrays, and whatever else the file has.

    Raises:
        CodeError: the file holds objects that are no data.
        Exception: of any kind: it is damaged or no checkpoint.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        from safetensors.torch import load_file

        checkpoint = {"model": load_file(path)}
    elif suffix == ".pkl":
        with open(path, "rb") as file:
            content = pickle.load(file, encoding="latin1") if trusted else array_pickle.load(file)
        checkpoint = _from_model_zoo(content)
    else:
        content = (
            torch.load(path, map_location="cpu", weights_only=False)
            if trusted
            else _load_tensors(path)
        )
        checkpoint = _from_torch(content, suffix)
    checkpoint["model"] = {name: _as_array(value) for name, value in checkpoint["model"].items()}
    return checkpoint


def _from_model_zoo(content: Dict[str, Any]) -> Dict[str, Any]:
    if "model" in content and "__author__" in content:
        return content
    blobs = content.get("blobs", content)  # ImageNet models have no "blobs"
    model = {k: v for k, v in blobs.items() if not k.endswith("_momentum") and k != "weight_order"}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _from_torch(content: Dict[str, Any], suffix: str) -> Dict[str, Any]:
    if suffix == ".pyth":
        model = {
            k: v for k, v in content["model_state"].items() if not k.endswith("num_batches_tracked")
        }
        return {"model": model, "__author__": "pycls", "matching_heuristics": True}
    return content if "model" in content else {"model": content}


def _as_array(value: Any) -> Any:
    """Detectron2 takes tensors and arrays; some files have numbers among them."""
    return np.asarray(value) if isinstance(value, (bool, int, float, np.generic)) else value


def _load_tensors(path: str) -> Any:
    try:
        with _numpy_admitted():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        refused = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", str(e))
        if refused is None:
            raise
        raise CodeError(refused[1]) from e


def _numpy_admitted() -> ContextManager:
    """
    Checkpoints also hold numbers of numpy, an AP for example. Torch can be told so by name since
    2.7.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        return nullcontext()
    admitted: List[Any] = [
        type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"
    ]
    admitted += [
        (get(), f"{module}.{name}")
        for (module, name), get in ADMITTED.items()
        if "torch" not in module
    ]
    return torch.serialization.safe_globals(admitted)
