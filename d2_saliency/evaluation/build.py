"""Metrics by name."""

from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, Sequence, Tuple


@dataclass(frozen=True)
class Metric:
    """
    Attributes:
        function: :class:`ExplainedImage` with N detections -> N dicts, value name -> number (nan where it is not
            defined), or list of numbers for a curve.
        values: names of the numbers.
        needs: key that a data set's annotations need to have, "" for none.
        lower: names of the values that are better when lower.
    """

    function: Callable
    values: Tuple[str, ...]
    needs: str
    lower: FrozenSet[str]


METRICS: Dict[str, Metric] = {}


def saliency_metric(*values: str, needs: str = "", lower: Sequence[str] = ()):
    """Register a function as the metric of its name. See :class:`Metric`."""

    def register(function: Callable) -> Callable:
        METRICS[function.__name__] = Metric(function, values, needs, frozenset(lower))
        return function

    return register


def check_metrics(names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: one of the names is no metric; the message lists those that are.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"There is no metric '{unknown[0]}'; choose among {', '.join(sorted(METRICS))}.")
