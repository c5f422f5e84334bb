"""
Writes metrics.html: tables, violins and curves of one or several methods, in one file that opens
without a network.
"""

import base64
import inspect
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import jinja2

from ..results.class_names import class_name
from ..utils.files import write_text
from .build import METRICS
from .comparison import Compared, Records, arrow, compare, shared_detections
from .plots import curve_names, curve_plot, violin_plot
from .summary import counts

MAX_LISTED = 300  # detections whose own values are on the page; records/ has those of all


def write_metrics_page(
    path: Union[str, Path],
    dataset: str,
    records: Records,
    metrics: List[str],
    class_names: Optional[Sequence[str]] = None,
) -> None:
    """
    Args:
        path: file of the page.
        dataset: its name.
        records: method -> the records of its evaluator; differences are taken from the first
            method.
        metrics: names that all of them were measured with.
        class_names: None: classes are called by their numbers.

    Raises:
        OutputError: the folder cannot be written to.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
    )
    page = environment.get_template("metrics.html").render(
        dataset=dataset,
        reference=next(iter(records)),
        counts={method: counts(images) for method, images in records.items()},
        parts=list(_parts(records, metrics, class_names)),
        max_listed=MAX_LISTED,
    )
    write_text(path, page)


def _parts(
    records: Records, metrics: List[str], classes: Optional[Sequence[str]]
) -> Iterator[Dict[str, Any]]:
    reference = next(iter(records))
    detections = shared_detections(records)
    for metric, values in compare(records, metrics, reference).items():
        pictures = [("distributions", violin_plot(detections, metric))]
        if curve_names(detections, metric):
            pictures.append(("mean curves", curve_plot(detections, metric)))
        others = [method for method in records if method != reference]
        yield {
            "metric": metric,
            "about": _about(metric),
            "columns": [f"{name} {arrow(metric, name)}" for name in values],
            "means": [
                {"method": m, "cells": [_mean(v[m]) for v in values.values()]} for m in records
            ],
            "differences": [
                {
                    "method": m,
                    "cells": [_difference(metric, name, v[m]) for name, v in values.items()],
                }
                for m in others
            ],
            "detections": list(_each_detection(detections, metric, classes)),
            "num_detections": len(detections[reference]),
            # A comparison has "win", too; a detection has not.
            "num_values": len(METRICS[metric].values),
            "pictures": [
                {"source": _data_uri(svg), "alt": f"{what} of {metric}"} for what, svg in pictures
            ],
        }


def _each_detection(
    detections: Dict[str, List[Dict[str, Any]]], metric: str, classes: Optional[Sequence[str]]
) -> Iterator[Dict[str, Any]]:
    """The first detections, each with a row of values for each method."""
    for twins in list(zip(*detections.values()))[:MAX_LISTED]:
        first = twins[0]
        label = class_name(first["class_id"], classes)
        name = f"{first['image_id']} #{first['index']}: {label} {first['score']:.0%}"
        values = (
            [twin["metrics"].get(metric, {}).get(key) for key in METRICS[metric].values]
            for twin in twins
        )
        cells = [["–" if v is None else f"{v:.3g}" for v in row] for row in values]
        yield {"name": name, "rows": [{"method": m, "cells": c} for m, c in zip(detections, cells)]}


def _about(metric: str) -> str:
    """
    Shorten a metric's docstring for the page: without the parts for programmers and without markup.
    """
    text = (
        (inspect.getdoc(METRICS[metric].function) or "")
        .split("\n\nReturns:")[0]
        .split("\n\nNote:")[0]
    )
    return re.sub(r":\w+:`([^`]*)`|``([^`]*)``", r"\1\2", text)


def _mean(compared: Compared) -> str:
    return f"{compared.mean} ({compared.mean.count})"


def _difference(metric: str, name: str, compared: Compared) -> Dict[str, str]:
    low, high = compared.difference.low, compared.difference.high
    sign = int(low > 0) - int(high < 0)  # 0 where the interval holds 0, or is nan
    if name in METRICS[metric].lower:
        sign = -sign
    return {"text": str(compared.difference), "verdict": {1: "better", -1: "worse", 0: ""}[sign]}


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
