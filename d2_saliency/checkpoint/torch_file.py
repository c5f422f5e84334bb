"""
Reads files of ``torch.save`` as data.

``torch.load(weights_only=True)`` would also make sparse, quantized and nested tensors and
subclasses of tensors. It lets a file set the flags of numpy's dtypes, and ran code before torch
2.6.
"""

import io
import re
import sys
import zipfile
from typing import IO, Any, Callable, Dict, Optional

import torch

from .array_pickle import ARRAY_STATES
from .data_pickle import Budget, DataUnpickler, check_key
from .tensor_pickle import TENSOR_NAMES, Storage

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def load(file: IO[bytes], budget: Optional[Budget] = None) -> Any:
    """
    Read a file as ``torch.load`` does on the CPU, for tensors, arrays of numpy, numbers and plain
    containers.

    Args:
        budget: the rest of the budget of the file that this one is a part of.

    Raises:
        CodeError: the file holds objects that are no data.
        Exception: of any kind: it is damaged or no file of torch.
    """
    budget = budget or Budget(size_of(file))
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _load_zip(file, budget) if is_zip else _load_legacy(file, budget)


def load_storage(content: bytes, budget: Budget) -> Storage:
    """A tensor's values in a pickle that is not of torch: a file of torch inside of it."""
    if type(content) is not bytes:
        raise ValueError("values of a tensor that are no bytes")
    return load(io.BytesIO(content), budget)


def size_of(file: IO[bytes]) -> int:
    """Measure a file in bytes; it is read from its beginning afterwards."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


class _Unpickler(DataUnpickler):
    def __init__(self, file: IO[bytes], find_storage: Callable[..., Storage], budget: Budget):
        super().__init__(file, TENSOR_NAMES, ARRAY_STATES, budget)
        self._find_storage = find_storage

    def persistent_load(self, pid: Any) -> Storage:
        """``pid``: ("storage", dtype, key, device, number of elements, ...)."""
        if type(pid) is not tuple or pid[0] != "storage" or type(pid[2]) is not str:
            raise ValueError("something else than a tensor's storage beside the pickle")
        return self._find_storage(*pid[1:])


def _load_zip(file: IO[bytes], budget: Budget) -> Any:
    """NAME/data.pkl, and each storage in NAME/data/KEY."""
    size = size_of(file)
    memories: Dict[str, torch.Tensor] = {}
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        for info in records.values():
            size -= info.file_size
            if not info.CRC:
                del info.CRC  # torch can be told to write none: zipfile must not compare it then
        if size < 0:
            raise ValueError("an archive that unpacks to more than its size")
        (root,) = (name.split("/")[0] for name in records if re.fullmatch(r"[^/]+/data\.pkl", name))
        order = f"{root}/byteorder"
        byte_order = archive.read(order).decode() if order in records else "little"

        def find_storage(dtype: torch.dtype, key: str, *unused: Any) -> Storage:
            if key not in memories:
                record = records[f"{root}/data/{key}"]
                storage = Storage(torch.empty(record.file_size, dtype=torch.uint8), dtype)
                with archive.open(record) as source:
                    _fill(storage, source, byte_order)
                memories[key] = storage.memory
            return Storage(memories[key], dtype)

        content = io.BytesIO(archive.read(f"{root}/data.pkl"))
        return _Unpickler(content, find_storage, budget).load()


def _load_legacy(file: IO[bytes], budget: Budget) -> Any:
    """Before torch 1.6: five pickles, among them the content and the keys, then the storages."""
    left = size_of(file)
    storages: Dict[str, Storage] = {}

    def find_storage(dtype: torch.dtype, key: str, device: str, length: int, view: None) -> Storage:
        nonlocal left
        if key not in storages:
            if (type(dtype), type(length), view) != (torch.dtype, int, None) or length < 0:
                raise ValueError("a storage of no dtype or of an impossible length")
            left -= length * dtype.itemsize
            if left < 0:
                raise ValueError("storages that are larger than the file")
            storages[key] = Storage(torch.empty(length * dtype.itemsize, dtype=torch.uint8), dtype)
        return Storage(storages[key].memory, dtype)

    pickles = [_Unpickler(file, find_storage, budget).load() for _ in range(5)]
    magic, protocol, _, content, keys = pickles
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ValueError("no file of torch")
    if type(keys) is not list or len(keys) != len(storages):
        raise ValueError("other storages than the tensors need")
    for key in keys:
        storage = storages.pop(check_key(key))
        if int.from_bytes(file.read(8), "little") * storage.dtype.itemsize != len(storage.memory):
            raise ValueError("a storage of another length than its tensors have")
        _fill(storage, file, "little")
    return content


def _fill(storage: Storage, source: IO[bytes], byte_order: str) -> None:
    """Reads its values, and turns them into this machine's order."""
    if source.readinto(storage.memory.numpy()) != len(storage.memory):  # type: ignore[attr-defined]
        raise ValueError("a storage that ends too early")
    if byte_order != sys.byteorder:
        storage.memory.untyped_storage().byteswap(storage.dtype)
