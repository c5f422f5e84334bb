"""Metrics by name."""

import logging
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Sequence, Set, Tuple

from torch import nn

from ..keys import did_you_mean

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """
    A metric: its function, and what is known of the values that it returns.

    Attributes:
        function: :class:`ExplainedImage` with N detections -> N dicts, value name -> number (nan
            where it is not defined), or list of numbers for a curve.
        values: names of the numbers.
        needs: key that a data set's annotations need to have, "" for none.
        lower: names of the values that are better when lower.
        provenance: it follows a detection's proposal or anchor, so the architecture has to be
            known.
    """

    function: Callable
    values: Tuple[str, ...]
    needs: str
    lower: FrozenSet[str]
    provenance: bool


METRICS: Dict[str, Metric] = {}


def saliency_metric(
    *values: str, needs: str = "", lower: Sequence[str] = (), provenance: bool = False
):
    """Register a function as the metric of its name. See :class:`Metric`."""

    def register(function: Callable) -> Callable:
        METRICS[function.__name__] = Metric(function, values, needs, frozenset(lower), provenance)
        return function

    return register


def check_metrics(names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: one of the names is no metric; the message lists those that are.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"There is no metric '{unknown[0]}'; choose among {', '.join(sorted(METRICS))}."
            f"{did_you_mean(unknown[0], METRICS)}"
        )


def annotated_metrics(names: Sequence[str], keys: Set[str], dataset_name: str) -> List[str]:
    """
    Choose the metrics that a data set's annotations allow; the log says what the others lack.

    Args:
        keys: that the annotations have.
        dataset_name: its name, for the log.
    """
    for name in names:
        needs = METRICS[name].needs
        if needs and needs not in keys:
            what = {"bbox": "boxes", "segmentation": "masks"}.get(needs, f"'{needs}'")
            logger.warning(
                f"Metric {name} is skipped: the annotations of '{dataset_name}' have no {what}."
            )
    return [name for name in names if METRICS[name].needs in keys | {""}]


def applicable_metrics(names: Sequence[str], model: nn.Module) -> List[str]:
    """
    Choose the metrics that can judge the maps of this model; the log says which cannot, and what to
    do.

    Args:
        model: a :class:`SaliencyMixin`.

    Raises:
        ValueError: there are metrics, and none of them can.
    """
    found = [name for name in names if model.knows_provenance or not METRICS[name].provenance]
    reason = (
        f"follows a detection's proposal or anchor, which are not known for {type(model).__name__}"
    )
    if names and not found:
        others = ", ".join(
            sorted(name for name, metric in METRICS.items() if not metric.provenance)
        )
        raise ValueError(f"Metric {names[0]} {reason}: choose among {others}.")
    for name in names:
        if name not in found:
            logger.warning(
                f"Metric {name} is skipped, the others go on: it {reason}. Leave it out of the "
                "metrics."
            )
    return found
