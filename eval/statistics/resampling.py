"""Figures of a whole set, like macro-F1, which are no mean over items: the bootstrap of clusters."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import sqrt
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from eval.statistics.interval import Interval, of_share

RESAMPLES = 1_000
T = TypeVar("T")


def resampled(
    items: Sequence[T],
    figure: Callable[[Sequence[T]], float | None],
    clusters: Sequence[str] | None = None,
    seed: int = 0,
) -> Interval | None:
    """The figure of all items, and its interval from RESAMPLES sets of as many clusters drawn with replacement.

    Their variance takes the place of a mean's; figures between 0 and 1 get Wilson's bounds, others mean +- t. Sets that
    have no figure are left out. None if the whole set has none. `clusters` are the items', in the same order; an empty
    name stands for none. The items' order must not depend on chance, for they cannot be sorted here.
    """
    whole = figure(items) if items else None
    if whole is None:
        return None
    groups = _by_cluster(items, clusters)
    count = len(groups)
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    found = [figure([item for place in row for item in groups[place]]) for row in drawn] if count > 1 else []
    figures = [value for value in found if value is not None]
    variance = float(np.var(figures)) * count / (count - 1) if len(figures) > 1 else 0.0
    if min([whole, *figures]) >= 0 and max([whole, *figures]) <= 1:
        low, high = of_share(whole, variance, count, max(1, count - 1))
    else:
        reach = float(stdtrit(max(1, count - 1), 0.975)) * sqrt(variance)
        low, high = whole - reach, whole + reach
    return Interval(mean=whole, low=low, high=high, n=len(items), clusters=count)


def _by_cluster(items: Sequence[T], clusters: Sequence[str] | None) -> list[list[T]]:
    if clusters is None:
        return [[item] for item in items]
    groups: defaultdict[str, list[T]] = defaultdict(list)
    for item, cluster in zip(items, clusters, strict=True):
        groups[cluster].append(item)
    alone = [[item] for item in groups.pop("", [])]
    return alone + [groups[cluster] for cluster in sorted(groups)]
