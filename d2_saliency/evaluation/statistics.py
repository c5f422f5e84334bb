"""A mean that says how sure it is."""

import math
from typing import NamedTuple, Sequence, Union

import numpy as np
from scipy.stats import bootstrap


class Estimate(NamedTuple):
    """Mean of ``count`` values with its bootstrap 95 % interval [low, high]; all nan where there are no values."""

    mean: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # of tuple, which nobody asks here

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]" if self.count else "-"


def mean_with_interval(values: Union[Sequence[float], np.ndarray], seed: int = 0) -> Estimate:
    """
    Mean and percentile bootstrap interval (95 %, 2000 resamples). Values that are nan do not count.

    One value has no interval but itself.
    """
    known = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    if not len(known):
        return Estimate(math.nan, math.nan, math.nan, 0)
    if len(known) == 1 or np.ptp(known) == 0:
        value = float(known[0])
        return Estimate(value, value, value, len(known))
    rng = np.random.default_rng(seed)
    interval = bootstrap((known,), np.mean, n_resamples=2000, method="percentile", rng=rng).confidence_interval
    return Estimate(float(known.mean()), float(interval.low), float(interval.high), len(known))
