"""
Weights that run code, read or fill the memory, end the process or take for ever: refused in a line.
"""

import io
import os
import pickle
import resource
import struct
import time
import zipfile

import pytest
import torch
from torch import nn

from d2_saliency.checkpoint.weights import WeightsError, load_weights
from tests.robustness.conftest import in_child, is_one_line
from tests.robustness.pickle_attacks import (
    address_of,
    array,
    call,
    data,
    dtype,
    forged_object,
    get,
    name,
    put,
    row,
    run_code,
    scalar,
)

SECONDS, GIGABYTES = 10, 3


def pickled(value: bytes) -> bytes:
    """A checkpoint with ``value`` beside the model."""
    return (
        b"\x80\x02}("
        + data("__author__")
        + data("x")
        + data("model")
        + b"}"
        + data("value")
        + value
        + b"u."
    )


def torch_file(value: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}" + data("x") + value + b"s.")
    return file.getvalue()


def mark_of(path) -> bytes:
    return run_code(f"open({str(path)!r}, 'w')")


def raw(text: str) -> bytes:
    """Bytes in the opcodes that torch knows."""
    return call(name("_codecs", "encode"), data(text), data("latin1"))


COPY = put(b"\x8e" + struct.pack("<Q", 10**7) + bytes(10**7), 0) + b"0"
NESTED = {
    "tuples": b")" + b"\x85" * 200_000,
    "lists": b"]" * 200_000 + b"a" * 199_999,
    "dicts": b"}" + b"N}" * 200_000 + b"s" * 200_000,
}
ATTACKS = {
    "an object at a made-up address": forged_object(data(b"A" * 8)),
    "the address of an object": address_of(name("_codecs", "encode")),
    "an array of objects at made-up addresses": array(dtype("O8", 0x30), (2,), data(b"A" * 16)),
    "the hash of tuples in tuples": b"}" + NESTED["tuples"] + b"Ns",
    "a set of tuples in tuples": call(name("builtins", "set"), b"(" + NESTED["tuples"] + b"l"),
    "a count of tuples in tuples": call(
        name("collections", "Counter"), b"(" + NESTED["tuples"] + b"l"
    ),
    "integers of one hash": b"}("
    + b"".join(data(k * (2**61 - 1)) + b"N" for k in range(1, 60_000))
    + b"u",
    "places of the memo of one hash": b"N"
    + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(1, 60_000)),
    "a place far away in the memo": b"Nr\xff\xff\xff\x7f",
    "an array of another length": array(dtype("f8", 0, "<"), (2**40,), data(b"x" * 8)),
    "a large number of characters": call(name("builtins", "bytes"), data(10**11)),
    "copies of one array": COPY + row(*[array(dtype("u1", 0), (10**7,), get(0))] * 1000),
    "copies of one set": put(data(list(range(10**5))), 0)
    + row(*[call(name("builtins", "set"), get(0))] * 1000),
    "millions of sets": b"\x8f" * 3_000_000,
    **{f"{kind} in {kind}": value for kind, value in NESTED.items()},
}
TORCH_ATTACKS = {
    "flags that free numbers": array(dtype("u8", 0x3D, "<"), (1,), raw("A" * 8)),
    "flags that show an address": scalar(dtype("u8", 0x3D, "<"), raw("A" * 8)),
    "a nested tensor beyond its buffer": call(
        name("torch._utils", "_rebuild_nested_tensor"), *[b"N"] * 4
    ),
    "a tensor of another size": call(
        name("torch._utils", "_rebuild_wrapper_subclass"), *[b"N"] * 8
    ),
}


def load(path) -> None:
    """Within the limits, or the process ends."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_weights(nn.Linear(3, 2), str(path))
    except WeightsError as e:
        assert is_one_line(e) and str(path) in str(e)
    else:
        raise AssertionError("these weights hold no model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTES * 2**20


def survives(path) -> None:
    _, status = os.waitpid(in_child(lambda: load(path)), 0)
    assert status == 0


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_code(tmp_path, core):
    """
    With forged flags to any object, to its memory, to the type of functions, to a new function.
    """
    attack = pickled(mark_of(tmp_path / "mark")).replace(b"numpy._core", core.encode())
    (tmp_path / "x.pkl").write_bytes(attack)
    start = time.perf_counter()
    survives(tmp_path / "x.pkl")
    assert not (tmp_path / "mark").exists() and time.perf_counter() - start < SECONDS


@pytest.mark.parametrize("attack", ATTACKS)
def test_pickles(tmp_path, attack):
    (tmp_path / "x.pkl").write_bytes(pickled(ATTACKS[attack]))
    survives(tmp_path / "x.pkl")


@pytest.mark.parametrize("attack", TORCH_ATTACKS)
def test_files_of_torch(tmp_path, attack):
    (tmp_path / "x.pth").write_bytes(torch_file(TORCH_ATTACKS[attack]))
    survives(tmp_path / "x.pth")


def test_files_of_torch_in_a_pickle(tmp_path):
    """One of 2 MB that does nothing, read a thousand times."""
    inner = b"\x80\x02" + b"N0" * 2_200_000 + b"N."
    attack = (
        put(data(inner), 0)
        + b"0"
        + row(*[call(name("torch.storage", "_load_from_bytes"), get(0))] * 1000)
    )
    (tmp_path / "x.pkl").write_bytes(pickled(attack))
    survives(tmp_path / "x.pkl")


def test_a_checkpoint_that_holds_itself(tmp_path):
    content = {"__author__": "x"}
    content["model"] = content
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / "x.pth")
    survives(tmp_path / "x.pkl")
    survives(tmp_path / "x.pth")
