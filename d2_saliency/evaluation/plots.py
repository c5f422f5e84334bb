"""
Plots metrics as SVG: violins (as in the ODSmoothGrad paper) and curves (as in the SSGrad-CAM++
paper).
"""

import io
import math
from typing import Any, Dict, List, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .build import METRICS
from .comparison import arrow
from .summary import values_of

COLUMNS = 4  # panels beside each other
COLOURS = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "d2_saliency",
}

Detections = Dict[str, List[Dict[str, Any]]]


def violin_plot(detections: Detections, metric: str) -> str:
    """
    The distribution of each value of a metric over detections, one violin for each method; a bar is
    the median.
    """
    names = METRICS[metric].values
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(names))
        for name, ax in zip(names, axes):
            _violins(
                ax, {method: values_of(found, metric, name) for method, found in detections.items()}
            )
            ax.set_title(f"{name} {arrow(metric, name)}")
        return _svg(figure)


def _violins(ax, values: Dict[str, Sequence[float]]) -> None:
    defined = {method: [v for v in vs if not math.isnan(v)] for method, vs in values.items()}
    for place, (_, vs) in enumerate(defined.items()):
        if len(vs) > 1 and np.ptp(vs) > 0:
            (body,) = ax.violinplot([vs], [place], showextrema=False)["bodies"]
            body.set(facecolor=_colour(place), alpha=0.5)
        if vs:
            ax.hlines(np.median(vs), place - 0.25, place + 0.25, color=_colour(place))
    ax.set_xticks(
        range(len(values)), list(values), rotation=30 if len(values) > 1 else 0, ha="right"
    )
    ax.margins(x=0.1)


def curve_names(detections: Detections, metric: str) -> List[str]:
    """The curves that a metric has, by name."""
    names: Dict[str, None] = {}
    for found in detections.values():
        for detection in found:
            values = detection["metrics"].get(metric, {})
            names.update({name: None for name, value in values.items() if isinstance(value, list)})
    return list(names)


def curve_plot(detections: Detections, metric: str) -> str:
    """The mean over detections of each curve of a metric, one line for each method."""
    names = curve_names(detections, metric)
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(names))
        for name, ax in zip(names, axes):
            for place, (method, found) in enumerate(detections.items()):
                curves = [
                    d["metrics"][metric][name]
                    for d in found
                    if name in d["metrics"].get(metric, {})
                ]
                if curves:
                    mean = np.mean(curves, axis=0)
                    ax.plot(
                        np.linspace(0, 1, len(mean)),
                        mean,
                        color=_colour(place),
                        label=method,
                        linewidth=1.2,
                    )
            ax.set(
                title=name.removesuffix("_curve"),
                xlabel="share of steps",
                xlim=(0, 1),
                ylim=(min(0, ax.get_ylim()[0]), 1.02),
            )
        if len(detections) > 1:
            axes[0].legend(frameon=False, fontsize=6)
        return _svg(figure)


def _panels(count: int):
    columns, rows = min(count, COLUMNS), math.ceil(count / COLUMNS)
    figure = Figure(figsize=(2.6 * columns, 2.5 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).flatten()[:count]


def _colour(place: int):
    return COLOURS[place % len(COLOURS)]


def _svg(figure: Figure) -> str:
    for ax in figure.axes:
        ax.set_visible(ax.has_data() or bool(ax.get_title()))
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
