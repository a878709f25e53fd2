"""Intervals by the bootstrap: over items for one arm, over paired differences for two (Efron 1979, percentile)."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

RESAMPLES = 10_000
_CHUNK = 1000  # resamples at once: bounds memory


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
    chance = np.random.default_rng(seed)
    means = np.concatenate(
        [
            sample[chance.integers(0, len(sample), (_CHUNK, len(sample)))].mean(axis=1)
            for _ in range(RESAMPLES // _CHUNK)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=float(sample.mean()), low=float(low), high=float(high), n=len(sample))


def paired(first: dict[str, float], second: dict[str, float], seed: int = 0) -> Interval | None:
    """The mean of first - second over the items both have, with its interval; None if they share no item."""
    shared = [item for item in first if item in second]
    return interval([first[item] - second[item] for item in shared], seed)
