"""Checkpoints, good and hostile ones, whose pickles are changed opcode by opcode."""

import io
import pickle
import pickletools
import random
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import List

import numpy as np
import torch
from torch import nn

from tests.robustness import pickle_attacks as attacks

NAMES = [
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("numpy", "load"),
    ("x", "y"),
]
NAMES += [("torch._utils", f"_rebuild_tensor_v{version}") for version in (2, 3)]
NAMES += [("numpy", "dtype"), ("numpy", "ndarray"), ("numpy._core.multiarray", "scalar")]
NAMES += [("numpy._core.multiarray", "_reconstruct"), ("numpy._core.numeric", "_frombuffer")]
NAMES += [("_codecs", "encode"), ("torch", "Size"), ("torch", "load"), ("collections", "Counter")]
NAMES += [("builtins", kind) for kind in ("bytes", "bytearray", "complex", "set", "frozenset")]
NAMES += [("torch", name) for name, value in vars(torch).items() if type(value) is torch.dtype]
VALUES = [0, 1, -1, 255, 2**31 - 1, 2**31, 2**61 - 1, 2**63, 2**64, 10**30, 0.5, 1e308, None, True]
VALUES += ["", "f4", "O8", "U9", "latin1", "storage", "0", "é" * 300, b"", b"x" * 8, b"\xff" * 16]
VALUES += [(), (0,), (2, 3), (-1,), (2**40,), (3, "<"), [], {}, [97] * 4, {"a": ()}]
VALUES += [(1, (1,), None, False, b"x" * 8), (3, "|", None, None, None, -1, -1, 0x30)]
PUSHED = [attacks.name(*name) for name in NAMES] + [attacks.data(value) for value in VALUES]
PIECES = PUSHED + [bytes([code]) for code in range(256)]
PIECES += [code + bytes([place]) for place in range(8) for code in (b"h", b"q")]
PIECES += [b"\x82\x01", b"j\x00\x00\x00\x00", b"r\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f"]
PIECES += [b")" + b"\x85" * 100_000]


class Call:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def good() -> List[dict]:
    state = nn.Linear(3, 2).state_dict()
    arrays = {key: value.numpy() for key, value in state.items()}
    others = {
        "half": np.float16([[1, 2]]),
        "long": np.int64([3]),
        "fortran": np.asfortranarray(np.ones((2, 3))),
    }
    others.update(
        ap=np.float32(0.5),
        text=np.array(["a", "bc"]),
        truth=np.array([True]),
        none=np.zeros((0, 4)),
    )
    containers = {
        "c": Counter("aab"),
        "s": {1},
        "f": frozenset([2]),
        "b": b"x" * 9,
        "z": 1j,
        "y": bytearray(b"q"),
    }
    return [
        {"model": arrays, "__author__": "x", **others},
        {"blobs": {**arrays, "b_momentum": others["half"]}, "cfg": "A: {B: [1]}\n", **containers},
        {
            "model": OrderedDict(state),
            "__author__": "x",
            "trained": nn.Parameter(torch.ones(2, 2)[:, 1:]),
            "i": 2**70,
        },
    ]


def hostile(mark: Path) -> List[bytes]:
    """Opcodes without PROTO and STOP."""
    calls = [
        Call(open, str(mark), "w"),
        Call(eval, f"open({str(mark)!r}, 'w')"),
        Call(mark.touch),
        Call(np.memmap, mark),
    ]
    values = [
        pickle.dumps(call, protocol)[2 * (protocol > 1) : -1]
        for call in calls
        for protocol in (0, 2, 4)
    ]
    values += [
        attacks.run_code(f"open({str(mark)!r}, 'w')"),
        attacks.forged_object(attacks.data(b"A" * 8)),
    ]
    values += [
        attacks.address_of(attacks.name("_codecs", "encode")),
        attacks.memory_at(attacks.data(b"A" * 8)),
    ]
    values += [
        value.replace(attacks.data("O8"), attacks.data(kind))
        for value in values[-4:]
        for kind in ("u8", "U2")
    ]
    return [b"}" + attacks.data("model") + value + b"s" for value in values]


def opcodes(content: bytes) -> List[bytes]:
    """The pickle in pieces. Frames are left out: a mutation would only ever break their lengths."""
    found = [(code.name, position) for code, _, position in pickletools.genops(content)]
    ends = [position for _, position in found[1:]] + [len(content)]
    return [content[start:end] for (name, start), end in zip(found, ends) if name != "FRAME"]


def mutate(chance: random.Random, pieces: List[bytes], others: List[List[bytes]]) -> bytes:
    pieces = list(pieces)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at, kind = chance.randrange(len(pieces)), chance.randrange(12)
        if kind == 0:
            pieces[at : at + chance.choice((1, 1, 4))] = []
        elif kind == 1:
            pieces.insert(at, chance.choice(PIECES))
        elif kind == 2:
            pieces[at] = chance.choice(PIECES)
        elif kind == 3:
            pieces[at:at] = pieces[at : at + chance.randrange(1, 12)]
        elif kind == 4:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            pieces[at : at + chance.randrange(2)] = other[start : start + chance.randrange(1, 30)]
        elif kind == 5:
            there = chance.randrange(len(pieces))
            pieces[at], pieces[there] = pieces[there], pieces[at]
        elif (
            kind > 6
        ):  # another value in the place of one, so that the rest goes on as it was meant to
            pushes = [
                place
                for place, piece in enumerate(pieces)
                if piece[0] in b"KMJGXCBU\x8cN\x88\x89\x8ac"
            ]
            pieces[chance.choice(pushes or [at])] = chance.choice(PUSHED)
        else:
            piece = bytearray(pieces[at])
            piece[chance.randrange(len(piece))] = chance.randrange(256)
            pieces[at] = bytes(piece)
        pieces = pieces or [b"N"]
    content = b"".join(pieces)
    return content[: chance.randrange(len(content))] if chance.random() < 0.03 else content


class Cases:
    """What is mutated: (suffix, pieces of the pickle, what makes a file of the pickle)."""

    def __init__(self, mark: Path):
        pickles = [pickle.dumps(content, protocol) for content in good() for protocol in range(6)]
        self.pickles = [opcodes(content) for content in pickles]
        self.pickles += [opcodes(b"\x80\x04" + content + b".") for content in hostile(mark)]
        self.files = [(".pkl", pieces, bytes) for pieces in self.pickles]
        for content in good():
            file = io.BytesIO()
            torch.save(content, file)
            self.files += [(".pth", *self._zip(file))] * 4
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=False)
            self.files += [(".pth", *self._legacy(file.getvalue()))] * 4
        self.files += [(".pth", pieces, self.files[-1][2]) for pieces in self.pickles[18:]]

    def _zip(self, file: io.BytesIO):
        with zipfile.ZipFile(file) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        (key,) = (name for name in records if name.endswith("data.pkl"))

        def pack(content: bytes) -> bytes:
            target = io.BytesIO()
            with zipfile.ZipFile(target, "w") as archive:
                for name, record in {**records, key: content}.items():
                    archive.writestr(name, record)
            return target.getvalue()

        return opcodes(records[key]), pack

    def _legacy(self, content: bytes):
        source, ends = io.BytesIO(content), [0]
        for _ in range(5):
            for _ in pickletools.genops(source):
                pass
            ends.append(source.tell())
        return opcodes(
            content[ends[3] : ends[4]]
        ), lambda made: content[: ends[3]] + made + content[ends[4] :]

    def draw(self, chance: random.Random):
        suffix, pieces, pack = chance.choice(self.files)
        return suffix, pack(mutate(chance, pieces, self.pickles))
