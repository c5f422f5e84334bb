"""Small plots of what explanations cost."""

from pathlib import Path
from typing import Dict, Sequence

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

Curves = Dict[str, Dict[float, float]]
"""Label -> x -> y."""


def plot(
    path: Path,
    curves: Curves,
    x_label: str,
    y_label: str,
    log: bool = True,
    ticks: Sequence[float] = (),
) -> None:
    """Write one plot as a small PNG."""
    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=90)
    for label, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=label)
    if log:
        axes.set_yscale("log")
    axes.set_xticks(ticks or sorted({x for points in curves.values() for x in points}))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )  # beside the curves
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
