"""Finds a model's tensors in what a checkpoint holds, whatever they are kept under."""

import logging
from collections import Counter
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np
import torch

logger = logging.getLogger(__name__)

CONTAINERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "module",
    "weights",
    "params",
    "net",
    "network",
)
"""Names that training code keeps a model's tensors under; the first that is there is taken."""

AVERAGED = ("ema", "teacher")
"""Of two models in one file, the one with this in its prefix is meant for use."""

MAX_SHOWN = 8  # entries of a file, in messages


class NoModelError(ValueError):
    """There are no tensors of a model; the message is the end of a sentence about the file."""


def take_model(content: Any, file_name: str) -> Dict[str, Any]:
    """
    The tensors by their names: ``content`` itself, or what is in one of its :data:`CONTAINERS`.

    Where that is not obvious, the log says which was taken.

    Args:
        content: of a file.
        file_name: for the log.

    Raises:
        NoModelError: there are none; the message says what there is.
    """
    if not isinstance(content, dict):
        raise NoModelError(f"hold no model but a {type(content).__name__}")
    found = [path for path in _paths(content) if _is_model(_at(content, path))]
    if not found:
        raise NoModelError(f"hold no tensors of a model, only {_listed(content)}")
    taken, *others = found
    if taken not in ((), ("model",)) or others:
        also = f"; it also has {', '.join(map(_shown, others))}" if others else ""
        logger.info(f"Of the checkpoint '{file_name}', {_shown(taken)} is taken{also}.")
    return _at(content, taken)


def strip_prefix(tensors: Dict[str, Any], wanted: Iterable[str]) -> Dict[str, Any]:
    """
    The tensors without the prefix that wrappers (DistributedDataParallel, torch.compile, Lightning,
    teacher and student) put before the model's names; others are left out.

    Args:
        tensors: by name.
        wanted: names of the model's tensors.
    """
    names = set(wanted)
    matches = Counter(
        name[:start] for name in tensors for start in _starts(name) if name[start:] in names
    )
    most = max(matches.values(), default=0)
    if matches[""] == most:
        return tensors
    equal = [prefix for prefix, number in matches.items() if number == most]
    prefix = max(equal, key=lambda p: (any(word in p.lower() for word in AVERAGED), -len(p)))
    kept = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    also = "".join(f"; '{p}' would fit, too" for p in equal if p != prefix)
    logger.info(
        f"The {len(kept)} tensors whose names begin with '{prefix}' are taken, without it, of "
        f"{len(tensors)}{also}."
    )
    return kept


def _starts(name: str) -> List[int]:
    return [0, *(i + 1 for i, character in enumerate(name) if character == ".")]


def _paths(content: Dict[str, Any]) -> List[Tuple[str, ...]]:
    """List the places of a model, the best first."""
    known = [name for name in CONTAINERS if isinstance(content.get(name), dict)]
    # A container of another name holds a model if its names are those of modules in modules.
    others = [
        name
        for name, value in content.items()
        if name not in CONTAINERS and isinstance(value, dict) and _has_dots(value)
    ]
    inner = [(name, part) for name in known for part in CONTAINERS if part in content[name]]
    return [(), *((name,) for name in known), *inner, *((name,) for name in others)]


def _at(content: Any, path: Tuple[str, ...]) -> Any:
    for name in path:
        content = content[name]
    return content


def _is_model(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    kinds = [_is_array(v) for v in value.values()]
    return any(kinds) and None not in kinds


def _is_array(value: Any) -> Optional[bool]:
    """False for numbers, which some files have among the tensors; None for what is neither."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return True
    return False if isinstance(value, (bool, int, float, np.generic)) else None


def _has_dots(value: Dict) -> bool:
    return any(isinstance(name, str) and "." in name for name in value)


def _shown(path: Tuple[str, ...]) -> str:
    return ascii(".".join(map(str, path))[:60]) if path else "all"


def _listed(content: Dict) -> str:
    """Names are the file's own text: they may hold commands for the terminal."""
    parts = [f"{ascii(k)[:60]} ({type(v).__name__})" for k, v in content.items()]
    more = len(parts) - MAX_SHOWN
    return (", ".join(parts[:MAX_SHOWN]) or "nothing") + (f" and {more} more" if more > 0 else "")
