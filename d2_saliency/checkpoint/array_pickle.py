"""
Reads arrays and numbers of numpy from pickles: it makes them from bytes whose number is checked.

A pickle never gets a type or function of numpy: with the flags of a dtype forged, numpy takes any
number for an address.
"""

import re
from math import prod
from typing import Any, Callable, Dict, Optional, Tuple, Union

import numpy as np

from .container_pickle import CONTAINER_NAMES, CONTAINER_STATES
from .data_pickle import CodeError

_KIND = re.compile(r"\?|[biufc][0-9]{1,2}|[SU][1-9][0-9]{0,5}")
_ARRAY = "numpy.ndarray"  # stands for the class: pickles only name it


class Dtype:
    """
    Stands for ``numpy.dtype``, of numbers, booleans or text of a fixed length.

    A pickle can set its byte order, and nothing else.
    """

    __slots__ = ("kind", "order")

    def __init__(self, kind: str):
        if type(kind) is not str:
            raise ValueError(f"a dtype that is a {type(kind).__name__}")
        if not _KIND.fullmatch(kind):
            raise CodeError(f"an array of dtype {kind}")
        self.kind, self.order = kind, "="

    def set_state(self, state: Tuple) -> None:
        """Set the state as numpy writes it: (version, byte order, ...)."""
        order = state[1]
        if type(order) is not str or order not in ("<", ">", "=", "|"):
            raise ValueError("a dtype of no byte order")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.kind)


def _check_bytes(content: Any, dtype: Dtype, shape: Tuple[int, ...]) -> Tuple[bytes, np.dtype]:
    """
    ``content``, which Python 2 has as text, and the dtype for an array of ``shape``.

    Raises:
        ValueError: there are more or fewer bytes than the array has, or unknown characters.
    """
    if type(dtype) is not Dtype or type(shape) is not tuple or len(shape) > 32:
        raise ValueError("an array without a dtype and a shape")
    if not all(type(length) is int and 0 <= length < 2**62 for length in shape):
        raise ValueError("an array of an impossible shape")
    if type(content) is str:
        content = content.encode("latin1")
    kind = dtype.numpy()
    if type(content) not in (bytes, bytearray) or len(content) != prod(shape) * kind.itemsize:
        raise ValueError("an array of more or fewer bytes than its shape has")
    if kind.kind == "b":  # numpy relies on each being 0 or 1
        content = (np.frombuffer(content, np.uint8) != 0).tobytes()
    if kind.kind == "U" and (np.frombuffer(content, kind.byteorder + "u4") > 0x10FFFF).any():
        raise ValueError("text of characters that do not exist")
    return content, kind


def _dtype(kind: str, *unused: Any) -> Dtype:
    return Dtype(kind)


def _reconstruct(kind: str, *unused: Any) -> np.ndarray:
    """An array for ``_fill``: by then the pickle may have put it at several places."""
    if kind is not _ARRAY:
        raise ValueError("an array of another type")
    return np.empty(0, np.uint8)


def _fill(array: Any, state: Tuple) -> None:
    """Once only: a second time would free memory that others may look at."""
    _, shape, dtype, fortran, content = state
    if array.nbytes or type(fortran) not in (bool, int):
        raise ValueError("an array that has its values already, or in no order")
    content, kind = _check_bytes(content, dtype, shape)
    array.__setstate__((1, shape, kind, fortran, content))


def _scalar(dtype: Dtype, content: Union[bytes, str]) -> np.generic:
    return np.frombuffer(*_check_bytes(content, dtype, ()))[0]


def _frombuffer(
    content: Union[bytes, bytearray],
    dtype: Dtype,
    shape: Tuple,
    order: str,
    axes: Optional[Tuple] = None,
) -> np.ndarray:
    """Arrays in protocol 5."""
    array = np.frombuffer(*_check_bytes(content, dtype, shape))
    if axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order="F" if order == "F" else "C")


ARRAY_NAMES: Dict[Tuple[str, str], Any] = {
    **CONTAINER_NAMES,
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _dtype,
    **{
        (f"{core}.{module}", name): function
        for core in ("numpy.core", "numpy._core")  # numpy 1 and 2
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}
"""(module, name) in a pickle -> what stands for it."""

ARRAY_STATES: Dict[type, Callable] = {**CONTAINER_STATES, np.ndarray: _fill, Dtype: Dtype.set_state}
"""Type of a value -> function of it and of the state that a pickle gives it."""
