"""
Reads pickles that hold arrays, torch tensors and plain containers, and refuses all others before
they can act.
"""

import io
import pickle
from collections import OrderedDict
from functools import partial
from typing import IO, Any, Callable, Dict, Optional, Tuple

import numpy as np
import torch


class CodeError(ValueError):
    """
    A file that holds more than data; the message is the end of a sentence that begins with the
    file's name.
    """

    def __init__(self, name: str):
        super().__init__(
            f"hold a Python object ({name}), and loading such objects can run any code; if you "
            "trust the file, allow "
            "that with --trust-weights, or save the model's state_dict alone"
        )


def load(file: IO[bytes], encoding: str = "latin1") -> Any:
    """
    As ``pickle.load``, for data alone.

    Args:
        encoding: of the byte strings of Python 2; latin1 is that of Detectron's model zoos.

    Raises:
        CodeError: the pickle names anything but ``ADMITTED``.
    """
    return _ArrayUnpickler(file, encoding=encoding).load()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise CodeError(f"{module}.{name}")
        return ADMITTED[module, name]()


# What stands for each name. A pickle can set attributes of a Python function that it was given, so
# that it gets a new one each time it asks; the types and functions of numpy and the standard
# library here are written in C.


def _encode() -> Callable:
    """Bytes of Python 3 in protocol 2."""

    def encode(text: str, codec: str) -> bytes:
        if codec != "latin1":
            raise ValueError(f"text in the encoding {codec!r}")
        return text.encode("latin1")

    return encode


def _frombuffer() -> Callable:
    """Arrays in protocol 5."""

    def frombuffer(
        buffer: Any, dtype: np.dtype, shape: Tuple, order: str, axes: Optional[Tuple] = None
    ) -> np.ndarray:
        array = np.frombuffer(buffer, dtype)
        if axes is not None:
            return array.reshape(shape).transpose(axes)
        return array.reshape(shape, order="F" if order == "F" else "C")

    return frombuffer


def _rebuild_tensor() -> Callable:
    def rebuild(
        storage: Any, offset: int, size: Tuple, stride: Tuple, *unused: Any
    ) -> torch.Tensor:
        return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())

    return rebuild


def _rebuild_parameter() -> Callable:
    return lambda data, *unused: data


def _load_storage() -> Callable:
    """
    A tensor's values are a file of torch inside of the pickle; torch's own function would run code
    in it.
    """
    return lambda content: torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _itself(kind: type) -> type:
    return kind


def _admitted() -> Dict[Tuple[str, str], Callable[[], Any]]:
    names: Dict[Tuple[str, str], Callable[[], Any]] = {
        ("_codecs", "encode"): _encode,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch.storage", "_load_from_bytes"): _load_storage,
        ("numpy", "ndarray"): lambda: np.ndarray,
        ("numpy", "dtype"): lambda: np.dtype,
        ("collections", "OrderedDict"): lambda: OrderedDict,
    }
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
        names[f"{core}.multiarray", "_reconstruct"] = lambda: reconstruct
        names[f"{core}.multiarray", "scalar"] = lambda: scalar
        names[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for builtins in ("builtins", "__builtin__"):  # Python 3 and 2
        for kind in (bytes, bytearray, set, frozenset, complex):
            names[builtins, kind.__name__] = partial(_itself, kind)
    return names


ADMITTED = _admitted()
"""(module, name) in a pickle -> function that returns what stands for it."""
