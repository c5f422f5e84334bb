"""Summarises the records of images as metrics of a data set."""

import math
from typing import Any, Dict, Iterable, List

from .build import METRICS
from .dataset_images import image_key
from .statistics import Estimate, mean_with_interval

Metrics = Dict[str, Dict[str, Estimate]]

# A record is {"image_id", "file_name", "num_objects", "detections"} or {..., "error"}; a detection
# is {"index", "class_id", "score", "box", "matched", "empty_map", "metrics": {metric: {value:
# number, None where it is not defined, or a list of numbers for a curve}}}.


def detections_of(records: Iterable[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """All detections, each with the "image_id" of its record and "image", its :data:`ImageKey`."""
    return [
        {**d, "image_id": r["image_id"], "image": image_key(r)}
        for r in records
        for d in r.get("detections", [])
    ]


def values_of(detections: Iterable[Dict[str, Any]], metric: str, name: str) -> List[float]:
    """One value of all detections; nan where it is not defined."""
    values = (d["metrics"].get(metric, {}).get(name) for d in detections)
    return [math.nan if v is None else v for v in values]


def summarise(records: List[Dict[str, Any]], metrics: Iterable[str]) -> Metrics:
    """
    Mean over detections, interval from resampled images, and count of each value of each metric.
    """
    detections = detections_of(records)
    images = [d["image"] for d in detections]
    return {
        metric: {
            name: mean_with_interval(values_of(detections, metric, name), images)
            for name in METRICS[metric].values
        }
        for metric in metrics
    }


def counts(records: List[Dict[str, Any]]) -> Dict[str, float]:
    """
    Count what the metrics are of: images, those that failed, detections, and detections that match
    an object.
    """
    detections = detections_of(records)
    return {
        "images": float(len(records)),
        "failed": float(sum("error" in record for record in records)),
        "detections": float(len(detections)),
        "matched": float(sum(d["matched"] for d in detections)),
        "empty_maps": float(sum(d["empty_map"] for d in detections)),
    }


def counts_in_words(records: List[Dict[str, Any]]) -> str:
    """The numbers of :func:`counts` in one line: "4 images, 0 failed, ..."."""
    words = (f"{int(number)} {what.replace('_', ' ')}" for what, number in counts(records).items())
    return ", ".join(words)


def as_results(records: List[Dict[str, Any]], summary: Metrics) -> Dict[str, Dict[str, float]]:
    """
    The nested dict of floats that Detectron2 expects of an evaluator: {"saliency": counts, metric:
        {value: mean}}.

    Interval and count are there, too, as "<value>-low", "-high", "-count": Detectron2 logs names
    with a "-" but leaves them out of its tables. Values without any detection are nan.
    """
    results = {"saliency": counts(records)}
    for metric, values in summary.items():
        results[metric] = {name: estimate.mean for name, estimate in values.items()}
        for name, estimate in values.items():
            bounds = {"low": estimate.low, "high": estimate.high, "count": float(estimate.count)}
            results[metric].update({f"{name}-{key}": value for key, value in bounds.items()})
    return results


def as_json(summary: Metrics) -> Dict[str, Dict[str, Dict[str, Any]]]:
    """Prepare values for metrics.json: a value that is not a number becomes null."""
    return {
        metric: {
            name: {key: finite(value) for key, value in estimate._asdict().items()}
            for name, estimate in values.items()
        }
        for metric, values in summary.items()
    }


def finite(value: Any) -> Any:
    """None for a number that JSON does not have."""
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary_table(summary: Metrics) -> str:
    """Aligned Markdown: one row for each value."""
    rows = [
        (metric, name, str(estimate), str(estimate.count))
        for metric, values in summary.items()
        for name, estimate in values.items()
    ]
    return markdown_table(("metric", "value", "mean [95 % interval]", "n"), rows)


def markdown_table(header, rows) -> str:
    """Rows of texts as Markdown, in columns that a terminal shows aligned."""
    rows = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
