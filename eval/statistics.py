"""Intervals by the bootstrap: over items for one arm, over paired differences for two (Efron 1979, percentile).

The generator is seeded, so the same values give the same interval, in every report and on every machine.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES = 10_000
_AT_ONCE = 4_000_000  # drawn values held in memory; how they are cut does not change what is drawn


class Interval(BaseModel):
    """A mean with its 95 % interval, over `n` items."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """The mean of `values` and the percentile bootstrap interval around it; None without values."""
    if not values:
        return None
    sample = np.asarray(values, dtype=np.float64)
    low, high = np.percentile(_resampled_means(sample, seed), [2.5, 97.5])
    return Interval(mean=float(sample.mean()), low=float(low), high=float(high), n=len(sample))


def paired(first: Mapping[str, float], second: Mapping[str, float], seed: int = 0) -> Interval | None:
    """The mean of first - second over the items both have, with its interval; None if they share no item."""
    shared = [item for item in first if item in second]
    return interval([first[item] - second[item] for item in shared], seed)


def _resampled_means(sample: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of RESAMPLES samples of the same size, drawn with replacement: shape (RESAMPLES,)."""
    chance = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(sample))
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    return np.concatenate([sample[chance.integers(0, len(sample), (size, len(sample)))].mean(axis=1) for size in sizes])
