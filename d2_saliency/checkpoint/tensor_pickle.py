"""
Reads tensors of torch from pickles, as views of memory whose bounds are checked. All are on the
CPU.
"""

from math import prod
from typing import Any, Dict, Tuple

import torch

from .array_pickle import ARRAY_NAMES


class Storage:
    """
    Holds the memory that tensors are views of: one file's, and the type of its elements.

    Args:
        memory: (num_bytes,), uint8.
    """

    __slots__ = ("memory", "dtype")

    def __init__(self, memory: torch.Tensor, dtype: torch.dtype):
        if type(dtype) is not torch.dtype:
            raise ValueError("a tensor without a dtype")
        self.memory, self.dtype = memory, dtype


def _rebuild(
    storage: Storage,
    offset: int,
    size: Tuple,
    stride: Tuple,
    grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
) -> torch.Tensor:
    """
    The view of ``storage`` that begins at element ``offset``; ``grad`` and ``hooks`` are unused.

    Raises:
        ValueError: the view leaves the storage, or has more elements: a copy would fill the memory.
    """
    of_tuples = type(size) is tuple and type(stride) is tuple
    if type(storage) is not Storage or not of_tuples or len(size) > 64:
        raise ValueError("a tensor without a storage and a size")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise ValueError("a tensor of an impossible size")
    if metadata:
        raise ValueError("a tensor that is conjugated or negated as it is read")
    if 0 in size:
        return torch.empty(size, dtype=storage.dtype)
    available = len(storage.memory) // storage.dtype.itemsize
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    if prod(size) > available or last >= available:
        raise ValueError("a tensor that is larger than its storage")
    tensor = torch.empty(0, dtype=storage.dtype)
    return tensor.set_(storage.memory.untyped_storage(), offset, size, stride)


def _rebuild_of_dtype(
    storage: Storage,
    offset: int,
    size: Tuple,
    stride: Tuple,
    grad: Any,
    hooks: Any,
    dtype: torch.dtype,
    *metadata: Any,
) -> torch.Tensor:
    """
    Rebuild a tensor whose dtype is younger than the types of storages: its storage is of bytes.
    """
    return _rebuild(Storage(storage.memory, dtype), offset, size, stride, grad, hooks, *metadata)


def _rebuild_parameter(data: torch.Tensor, *unused: Any) -> torch.Tensor:
    return data


def _size(size: Tuple = ()) -> Tuple:
    return size


def _device(*name: Any) -> Tuple:
    return name


def _is_dtype(name: str, value: Any) -> bool:
    """Quantized ones are nothing without their scale."""
    return type(value) is torch.dtype and not name.startswith("q")


_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}

TENSOR_NAMES: Dict[Tuple[str, str], Any] = {
    **ARRAY_NAMES,
    **{("torch", f"{name}Storage"): dtype for name, dtype in _STORAGES.items()},
    **{("torch.cuda", f"{name}Storage"): dtype for name, dtype in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): torch.uint8,
    **{("torch", name): dtype for name, dtype in vars(torch).items() if _is_dtype(name, dtype)},
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}
"""(module, name) in a pickle -> what stands for it."""
