"""Figures of a whole set, like macro-F1, which are no mean over items: the bootstrap of clusters.

A figure is computed of sums over items, so that a thousand drawn sets are one product of matrices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import stdtrit

from eval.statistics.groups import Floats
from eval.statistics.interval import Interval, of_share

RESAMPLES = 1_000
Figure = Callable[[Floats], Floats]
"""Of sums of counts, shape (sets, counts), the figure of each set, shape (sets,); NaN where a set has none."""


@dataclass(frozen=True)
class Drawn:
    """The figure of all items, its `variance`, and between what it lay in the sets drawn of so many `clusters`."""

    whole: float
    variance: float
    least: float
    most: float
    clusters: int


def resampled(counts: Floats, figure: Figure, clusters: Sequence[str] | None = None, seed: int = 0) -> Interval | None:
    """The figure of all items, whose counts have the shape (items, counts), and its interval.

    Its variance over the sets drawn takes the place of a mean's; figures between 0 and 1 get Wilson's bounds, others
    mean +- t. None if the whole set has none. `clusters` are the items', in the same order; an empty name stands for
    none.
    """
    found = drawn(counts, figure, clusters, seed)
    if found is None:
        return None
    freedom = max(1, found.clusters - 1)
    if found.least >= 0 and found.most <= 1:
        low, high = of_share(found.whole, found.variance, found.clusters, freedom)
    else:
        reach = float(stdtrit(freedom, 0.975)) * sqrt(found.variance)
        low, high = found.whole - reach, found.whole + reach
    return Interval(mean=found.whole, low=low, high=high, n=len(counts), clusters=found.clusters)


def resampled_difference(
    counts: Floats, figure: Figure, clusters: Sequence[str] | None = None, seed: int = 0
) -> tuple[Interval, float | None] | None:
    """The interval of a difference of two shares, and its standard error; None if the whole set has none.

    As of a mean difference: t, after half an item 1 above 0 and half an item as much below are added, so that the same
    answers of both leave some doubt, and the other way round gives the same the other way round. With one cluster the
    bounds are -1 and 1, and there is no error to speak of.
    """
    found = drawn(counts, figure, clusters, seed)
    if found is None:
        return None
    whole = found.whole
    if found.clusters == 1:
        return Interval(mean=whole, low=-1.0, high=1.0, n=len(counts), clusters=1), None
    shrunk = len(counts) / (len(counts) + 1)
    middle = whole * shrunk
    error = sqrt(found.variance * shrunk**2 + (1 + middle**2) / (len(counts) + 1) ** 2)
    reach = float(stdtrit(found.clusters - 1, 0.975)) * error
    low, high = max(-1.0, min(middle - reach, whole)), min(1.0, max(middle + reach, whole))
    return Interval(mean=whole, low=low, high=high, n=len(counts), clusters=found.clusters), error


def by_cluster(counts: Floats, clusters: Sequence[str] | None) -> Floats:
    """The sums of counts of each cluster, shape (clusters, counts); clusters by name, so that no order matters.

    Items without a cluster, which are one each, are put into the order of their counts.
    """
    names = [""] * len(counts) if clusters is None else list(clusters)
    lone = sorted(tuple(row) for row, name in zip(counts.tolist(), names, strict=True) if not name)
    known = sorted({name for name in names if name})
    sums = np.zeros((len(known), counts.shape[1]))
    places = {name: place for place, name in enumerate(known)}
    for row, name in zip(counts, names, strict=True):
        if name:
            sums[places[name]] += row
    return np.concatenate([np.asarray(lone, dtype=np.float64).reshape(len(lone), counts.shape[1]), sums])


def drawn(counts: Floats, figure: Figure, clusters: Sequence[str] | None, seed: int) -> Drawn | None:
    """The figure over RESAMPLES sets of as many clusters drawn with replacement; sets that have none are left out."""
    whole = float(figure(counts.sum(axis=0, keepdims=True))[0]) if len(counts) else float("nan")
    if np.isnan(whole):
        return None
    groups = by_cluster(counts, clusters)
    count = len(groups)
    if count == 1:
        return Drawn(whole, 0.0, whole, whole, 1)
    times = np.random.default_rng(seed).multinomial(count, [1 / count] * count, RESAMPLES)
    figures = figure(times @ groups)
    known = figures[~np.isnan(figures)]
    variance = float(np.var(known)) * count / (count - 1) if len(known) > 1 else 0.0
    every = [whole, *known.tolist()]
    return Drawn(whole, variance, min(every), max(every), count)
