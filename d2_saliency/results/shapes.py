"""The shapes of what output folders hold as JSON, so that other content is told from ours."""

import os
from typing import Any, Optional, Tuple


def number(value: Any) -> bool:
    """A finite number; JSON also has integers of any length."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def integer(value: Any) -> bool:
    return isinstance(value, int) and number(value)


def side(value: Any) -> bool:
    """Pixels of an image's side."""
    return integer(value) and 0 < value < 10**6


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def number_or_none(value: Any) -> bool:
    return value is None or number(value)


def integer_or_none(value: Any) -> bool:
    return value is None or integer(value)


def text_or_none(value: Any) -> bool:
    return value is None or text(value)


def values(value: Any) -> bool:
    """Check what an evaluator notes of a metric: a number, or numbers of a curve."""
    return number_or_none(value) or (isinstance(value, list) and all(map(number_or_none, value)))


RUN = {
    "command": text,
    "method": text,
    "class_target": text_or_none,
    "seed": integer,
    "metrics": {text: text},
}
IMAGE = {
    "name": text,
    "file": text,
    "height": side,
    "width": side,
    "seconds": {text: number_or_none},
    "warnings": [text],
}
DETECTION = {
    "image": text,
    "index": integer,
    "class_id": integer,
    "class_name": text,
    "score": number,
    "box": (number, number, number, number),
    "method": text,
    "explained": flag,
    "num_matched": integer_or_none,
    "num_samples": integer_or_none,
    "peaks": [number_or_none],
    "flags": [text],
    "metrics": {text: number_or_none},
}
ERROR = {"name": text, "file": text, "methods": [text], "error": text}
RESULTS = {"runs": [RUN], "images": [IMAGE], "detections": [DETECTION], "errors": [ERROR]}
"""results.json and errors.json."""

IMAGE_RECORDS = ({"image": IMAGE, "detections": [DETECTION]}, {"error": ERROR})
"""A record of :class:`.writer.ResultsWriter` is one of these."""

JUDGED = {
    "index": integer,
    "class_id": integer,
    "score": number,
    "box": (number, number, number, number),
    "matched": flag,
    "empty_map": flag,
    "metrics": {text: {text: values}},
}
JUDGED_RECORDS = ({"num_objects": integer, "detections": [JUDGED]}, {"error": text})
"""A record of the evaluator is one of these."""


def misfit(value: Any, shape: Any, where: str = "") -> Optional[str]:
    """
    Say where a value of JSON differs from a shape, e.g. "detections[3].box"; None where it fits.

    Args:
        shape: a function value -> whether it fits; [shape of all items]; (shape of each item, ...);
            {name: shape}, a dict with these and perhaps more; {function of keys: shape of values}.
    """
    if callable(shape):
        return None if shape(value) else where
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return where
        parts = _items(value, shape, where)
    else:
        fixed = isinstance(shape, tuple)
        if not isinstance(value, list) or (fixed and len(value) != len(shape)):
            return where
        shapes = shape if fixed else shape * len(value)
        parts = [(v, s, f"{where}[{i}]") for i, (v, s) in enumerate(zip(value, shapes))]
    return next((m for part in parts for m in [misfit(*part)] if m is not None), None)


def _items(value: dict, shape: dict, where: str) -> list:
    parts = []
    for key, inner in shape.items():
        if callable(key):
            parts += [(v, inner, f"{where}.{k!r}") for k, v in value.items()]
        else:
            parts.append((value.get(key, _ABSENT), inner, f"{where}.{key}".lstrip(".")))
    return parts


_ABSENT = object()  # fits no shape


def fits_one(value: Any, shapes: Tuple[Any, ...]) -> bool:
    return any(misfit(value, shape) is None for shape in shapes)


def is_file_name(name: str) -> bool:
    """Say whether a text names a file in a folder: a stranger's may lead out of it."""
    try:
        length = len(os.fsencode(name))
    except UnicodeError:
        return False
    return 0 < length <= 200 and name not in (".", "..") and not set(name) & set("/\\\0")
