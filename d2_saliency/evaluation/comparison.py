"""Compares several methods on the same detections: paired differences, wins, tables."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from .build import METRICS
from .statistics import Estimate, mean_with_interval
from .summary import counts, detections_of, markdown_table, values_of

Records = Dict[str, List[Dict[str, Any]]]


class Compared(NamedTuple):
    """
    One value of a method, beside the reference.

    Attributes:
        mean: mean of the method's values.
        difference: mean of the method's values less the reference's, over the same detections. A
            method differs where the interval does not hold 0.
    """

    mean: Estimate
    difference: Estimate


def shared_detections(records: Records) -> Dict[str, List[Dict[str, Any]]]:
    """
    The detections that every method has explained, in the same order for all: {method: [detection,
    ...]}.
    """
    keyed = {
        method: {(d["image"], d["index"]): d for d in detections_of(images)}
        for method, images in records.items()
    }
    shared = [
        key for key in next(iter(keyed.values())) if all(key in found for found in keyed.values())
    ]
    return {method: [found[key] for key in shared] for method, found in keyed.items()}


def compare(
    records: Records, metrics: Sequence[str], reference: str
) -> Dict[str, Dict[str, Dict[str, Compared]]]:
    """
    Args:
        records: method -> the records of its evaluator.
        metrics: names that all of them were measured with.
        reference: the method that differences are taken from.

    Returns:
        dict: metric -> value -> method -> :class:`Compared`. ``average_drop`` also has "win", see
        :func:`win_percentages`.
    """
    detections = shared_detections(records)
    images = [d["image"] for d in detections[reference]]
    result: Dict[str, Dict[str, Dict[str, Compared]]] = {}
    for metric in metrics:
        table = {
            name: {
                method: np.array(values_of(found, metric, name))
                for method, found in detections.items()
            }
            for name in METRICS[metric].values
        }
        if metric == "average_drop":
            table["win"] = win_percentages(table["drop"])
        result[metric] = {
            name: {
                method: Compared(
                    mean_with_interval(v, images), mean_with_interval(v - values[reference], images)
                )
                for method, v in values.items()
            }
            for name, values in table.items()
        }
    return result


def win_percentages(drops: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """
    Win % of the Grad-CAM++ report, for any number of methods: 100 where a method has the smallest
    drop of a detection.

    Methods that share the smallest drop share the 100.
    """
    stacked = np.stack(list(drops.values()))
    best = stacked == stacked.min(axis=0)
    return dict(zip(drops, 100.0 * best / best.sum(axis=0)))


def comparison_text(records: Records, compared: Dict, reference: str, dataset: str) -> str:
    """Markdown: for each metric a table of means and one of differences from the reference."""
    number = {method: counts(images) for method, images in records.items()}
    detections = len(next(iter(shared_detections(records).values())))
    parts = [
        f"# Saliency methods on {dataset}",
        f"{int(number[reference]['images'])} images, {detections} detections that all methods "
        f"explained, {int(number[reference]['matched'])} of the reference's match an object. Mean "
        "[95 % bootstrap interval over images]; ↑: higher is better, ↓: lower is better. "
        f"Differences are paired, from {reference}.",
    ]
    for metric, values in compared.items():
        parts.append(f"## {metric}")
        for title, pick in (("mean", 0), (f"difference from {reference}", 1)):
            header = [title, *(f"{name} {arrow(metric, name)}" for name in values), "n"]
            rows = [
                [method, *_cells(values, method, pick), _count(values, method)]
                for method in records
            ]
            parts.append(
                markdown_table(header, [r for r in rows if pick == 0 or r[0] != reference])
            )
    return "\n\n".join(parts) + "\n"


def _cells(values: Dict[str, Dict[str, Compared]], method: str, pick: int) -> List[str]:
    return [str(by_method[method][pick]) for by_method in values.values()]


def _count(values: Dict[str, Dict[str, Compared]], method: str) -> str:
    return str(max(by_method[method].mean.count for by_method in values.values()))


def arrow(metric: str, name: str) -> str:
    return "↓" if name in METRICS[metric].lower else "↑"
