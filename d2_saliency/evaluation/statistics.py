"""Means with intervals that say how sure they are."""

import math
from typing import Dict, Hashable, NamedTuple, Optional, Sequence, Union

import numpy as np
from scipy.stats import bootstrap


class Estimate(NamedTuple):
    """
    Mean of ``count`` values with its bootstrap 95 % interval [low, high]; all nan where there are
    no values.
    """

    mean: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # of tuple, which nobody asks here

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]" if self.count else "-"


def mean_with_interval(
    values: Union[Sequence[float], np.ndarray],
    groups: Optional[Sequence[Hashable]] = None,
    seed: int = 0,
) -> Estimate:
    """
    Mean and percentile bootstrap interval (95 %, 2000 resamples). Values that are nan do not count.

    Args:
        values: numbers.
        groups: for each value the group that it comes from, say its image. Values of a group are
            alike, so whole groups are resampled: as if they were independent, the interval would be
            too narrow. None: each is its own group.
        seed: decides the resamples.

    Returns:
        Estimate: values of one group alone have no interval but their mean.
    """
    groups = range(len(values)) if groups is None else groups
    sums: Dict[Hashable, float] = {}
    counts: Dict[Hashable, int] = {}
    for value, group in zip(values, groups):
        if not math.isnan(value):
            sums[group] = sums.get(group, 0.0) + float(value)
            counts[group] = counts.get(group, 0) + 1
    count = sum(counts.values())
    if not count:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = sum(sums.values()) / count
    if np.ptp([sums[g] / counts[g] for g in sums]) == 0:
        return Estimate(mean, mean, mean, count)
    data = np.array(list(sums.values())), np.array(list(counts.values()))
    rng = np.random.default_rng(seed)
    resamples = bootstrap(
        data, _ratio_of_sums, n_resamples=2000, paired=True, method="percentile", rng=rng
    )
    low, high = map(float, resamples.confidence_interval)
    return Estimate(mean, low, high, count)


def _ratio_of_sums(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis) / counts.sum(axis)
