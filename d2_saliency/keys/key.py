"""One config key: its default, its meaning, and which values it may have."""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Callable, Iterable, Optional, Tuple

LARGEST = 2**63 - 1
"""The largest integer of torch."""


@dataclass(frozen=True)
class Key:
    """
    The declaration of a config key.

    Attributes:
        default: what a config says before anyone changes it. Values are of the same kind.
        about: what the key does, with its unit and the paper's default.
        low, high: smallest and largest value of a number.
        choices: the values of a word.
        each: whether an item of a list is as it should be; None where any is.
        hint: such a list in words, for the message about another one.
        changes_results: whether maps, or metrics of them, depend on the value. A run whose config
            differs in other keys alone goes on where it was.
    """

    default: Any
    about: str
    low: float = -math.inf
    high: float = math.inf
    choices: Tuple[str, ...] = ()
    each: Optional[Callable[[Any], bool]] = None
    hint: str = ""
    changes_results: bool = True

    def check(self, name: str, value: Any) -> None:
        """
        Raises:
            ValueError: no method and no metric can use the value. The message is one line that
                says so of ``name`` and what to choose.
        """
        if value is None:
            raise ValueError(f"{name} has no value; leave it out for its default.")
        if self.choices and value not in self.choices:
            advice = f"choose one of {', '.join(self.choices)}.{did_you_mean(value, self.choices)}"
        elif isinstance(self.default, bool) and not isinstance(value, bool):
            advice = "choose True or False."
        elif self.is_number and not self._in_range(value):
            whole = "whole " if isinstance(self.default, int) else ""
            advice = f"choose a {whole}number from {_digits(self.low)} to {_digits(self.high)}."
        elif self.each and not (isinstance(value, (list, tuple)) and all(map(self.each, value))):
            advice = f"give {self.hint}."
        else:
            return
        raise ValueError(f"{name} is {value!r}; {advice}")

    @property
    def is_number(self) -> bool:
        return isinstance(self.default, (int, float)) and not isinstance(self.default, bool)

    def _in_range(self, value: Any) -> bool:
        kind: Any = Integral if isinstance(self.default, int) else Real
        return isinstance(value, kind) and self.low <= value <= self.high  # nan is not


def did_you_mean(word: Any, names: Iterable[str]) -> str:
    """The end of a message about a word that is none of the names; empty if it is like none."""
    plain = {_plain(name): name for name in names}
    near = get_close_matches(_plain(str(word)), plain, n=1)
    return f" Did you mean {plain[near[0]]}?" if near else ""


def is_index(value: Any) -> bool:
    """Say whether a value is the number of a channel, a row or a column."""
    return type(value) is int and 0 <= value <= LARGEST


def is_cell(value: Any) -> bool:
    """Say whether a value is a cell [y, x] of a feature map."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_index, value))


def _plain(name: str) -> str:
    return name.lower().replace("+", "plus")  # "grad-cam++" is GradCAMPlusPlus


def _digits(limit: float) -> str:
    return "2^63 - 1" if limit == LARGEST else f"{limit:g}"
