"""Stands in for Python's names in pickles: bytes, sets, complex numbers, paths, ordered dicts."""

from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, Iterable, Tuple

from .data_pickle import check_key, check_keys


def _encode(text: str, codec: str = "") -> bytes:
    """Bytes of Python 3 in protocol 2."""
    if type(text) is not str or type(codec) is not str or codec not in ("latin1", "latin-1"):
        raise ValueError("text in another encoding than Latin-1")
    return text.encode("latin1")


def _bytes(content: Any = b"", codec: str = "") -> bytes:
    """Refuse objects that show their memory, and numbers, which would be a length."""
    if type(content) is str:
        return _encode(content, codec)
    if type(content) not in (bytes, bytearray, list):
        raise ValueError(f"the bytes of a {type(content).__name__}")
    return bytes(content)


def _bytearray(*arguments: Any) -> bytearray:
    return bytearray(_bytes(*arguments))


def _complex(real: float, imaginary: float) -> complex:
    if not {type(real), type(imaginary)} <= {int, float}:
        raise ValueError("a complex number of what are no numbers")
    return complex(real, imaginary)


def _set(items: Iterable = ()) -> set:
    return set(check_keys(_check_container(items)))


def _frozenset(items: Iterable = ()) -> frozenset:
    return frozenset(_set(items))


def _ordered(items: Iterable = ()) -> OrderedDict:
    return OrderedDict((check_key(key), value) for key, value in _check_container(items))


def _counter(counts: Dict) -> Counter:
    if type(counts) is not dict:
        raise ValueError(f"counts in a {type(counts).__name__}")
    return Counter(counts)


def _check_container(items: Any) -> Any:
    """An array would be taken apart into objects that need many times its memory."""
    if type(items) not in (list, tuple, dict):
        raise ValueError(f"the items of a {type(items).__name__}")
    return items


def _path(*parts: Any) -> str:
    """A path as text: training leaves some beside the model, and nothing here opens them."""
    if not all(type(part) is str for part in parts):
        raise ValueError("a path of what is no text")
    return "/".join(parts)


def _keep(value: OrderedDict, state: Any) -> None:
    """Attributes, which torch uses for the versions of modules: nothing here reads them."""


CONTAINER_NAMES: Dict[Tuple[str, str], Callable] = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered,
    ("collections", "Counter"): _counter,
    **{
        (builtins, function.__name__[1:]): function
        for builtins in ("builtins", "__builtin__")  # Python 3 and 2
        for function in (_bytes, _bytearray, _complex, _set, _frozenset)
    },
    **{
        (module, f"{kind}Path"): _path
        for module in ("pathlib", "pathlib._local")  # the second one in Python 3.13
        for kind in ("", "Pure", "Posix", "PurePosix", "Windows", "PureWindows")
    },
}
"""(module, name) in a pickle -> what stands for it."""

CONTAINER_STATES: Dict[type, Callable] = {OrderedDict: _keep}
"""Type of a value -> function of it and of the state that a pickle gives it."""
