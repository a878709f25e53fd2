"""A mean, and between what bounds it lies: 95 % intervals that hold although items of a document are alike.

Chosen by simulation (benchmarks/statistics_simulated.py; the table is in docs/guides/reading-a-verdict.md): bootstraps
of clusters, percentile and studentised alike, hold the truth too seldom where few items are wrong or right.

- Shares, values between 0 and 1: Wilson's score interval (1927) with the cluster-robust variance in place of the
  binomial's, and t in place of z. It needs no symmetry and never leaves 0 to 1.
- Differences of two arms: t with the cluster-robust variance, after half an item is added on either side (Agresti and
  Min 2005, for right and wrong), as far out as the largest difference there is.
- Anything else, such as nats: t with the cluster-robust variance.

Values that are all the same show no variance. Shares are then taken for one item a cluster, right or wrong; that is
Wilson's interval with n = clusters. Where SPARSE clusters or fewer hold all that is not 0, or all that is not 1, these
say little of how alike items of a cluster are, and the interval is no narrower than that. With a single cluster nothing
is known: the interval is all there may be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from pydantic import BaseModel, ConfigDict
from scipy.special import stdtrit

from eval.statistics.groups import Groups, grouped

FEW = 10  # clusters, below which an interval is not to be relied on
SPARSE = 2  # clusters that hold all that is rare, up to which their variance is not to be relied on
_UPPER = 0.975


class Interval(BaseModel):
    """A mean with its 95 % interval, over `n` items in `clusters` independent groups."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float
    n: int
    clusters: int

    @property
    def few(self) -> bool:
        """Whether the groups are too few for the interval to be relied on."""
        return self.clusters < FEW


@dataclass(frozen=True)
class Pairs:
    """Differences of the items that two arms share, in the order of their names, and what each item belongs to.

    `right_or_wrong`: every score was 0 or 1. `shares`: every score was between 0 and 1, so no difference is beyond 1.
    """

    differences: tuple[float, ...]
    clusters: tuple[str, ...]
    right_or_wrong: bool
    shares: bool


def interval(values: Sequence[float], clusters: Sequence[str] | None = None) -> Interval | None:
    """The mean of `values` and its interval; None without values. `clusters` are the values', in the same order.

    Values between 0 and 1 are taken for shares. Of others, a single cluster has no interval: None.
    """
    if not values:
        return None
    groups = grouped(values, clusters)
    if min(values) >= 0 and max(values) <= 1:
        sparse = groups.rare <= SPARSE
        return _found(
            groups, *of_share(groups.mean, _variance(groups), groups.clusters, _freedom(groups), sparse=sparse)
        )
    if groups.clusters == 1:
        return None
    reach = float(stdtrit(groups.freedom, _UPPER)) * sqrt(groups.variance)
    return _found(groups, groups.mean - reach, groups.mean + reach)


def paired(
    first: Mapping[str, float], second: Mapping[str, float], clusters: Mapping[str, str] | None = None
) -> Interval | None:
    """The mean of first - second over the items both have, with its interval; None if they share no item."""
    found = pairs(first, second, clusters)
    return None if found is None else of_differences(found)[0]


def pairs(first: Mapping[str, float], second: Mapping[str, float], clusters: Mapping[str, str] | None) -> Pairs | None:
    """The differences of the items both have; None if there are none. An item without a cluster is its own."""
    shared = sorted(item for item in first if item in second)
    if not shared:
        return None
    scores = [first[item] for item in shared] + [second[item] for item in shared]
    return Pairs(
        differences=tuple(first[item] - second[item] for item in shared),
        clusters=tuple((clusters or {}).get(item, "") for item in shared),
        right_or_wrong=all(score in (0.0, 1.0) for score in scores),
        shares=all(0.0 <= score <= 1.0 for score in scores),
    )


def of_share(
    mean: float, variance: float, clusters: int, freedom: float, *, sparse: bool = False
) -> tuple[float, float]:
    """Wilson's bounds: every share m0 with (mean - m0)² <= t² c m0 (1 - m0), where c mean (1 - mean) is the variance.

    c stands in the place of 1 / n; without a variance it is 1 / clusters, and at least that if the variance is of a
    `sparse` few. One cluster: 0 to 1.
    """
    if clusters == 1:
        return 0.0, 1.0
    binomial = mean * (1 - mean)
    c = variance / binomial if variance > 0 and binomial > 0 else 1 / clusters
    if sparse:
        c = max(c, 1 / clusters)
    k = c * float(stdtrit(freedom, _UPPER)) ** 2
    middle, reach = (mean + k / 2) / (1 + k), sqrt(max(0.0, k * binomial + k * k / 4)) / (1 + k)
    return max(0.0, min(mean, middle - reach)), min(1.0, max(mean, middle + reach))


def of_differences(found: Pairs) -> tuple[Interval, float | None, float]:
    """The interval of the mean difference, its standard error, and the degrees of freedom of that.

    With one cluster the bounds are -1 and 1, or as far as the difference is out, if further, and there is no error to
    speak of. Bounds of shares are never beyond -1 and 1.
    """
    groups = grouped(found.differences, found.clusters)
    furthest = max(abs(difference) for difference in found.differences) or 1.0
    if groups.clusters == 1:
        whole = max(1.0, furthest)
        return _found(groups, -whole, whole), None, 1.0
    middle, variance = groups.with_half_an_item_on_either_side(furthest)
    error, freedom = sqrt(variance), groups.freedom
    reach = float(stdtrit(freedom, _UPPER)) * error
    low, high = min(middle - reach, groups.mean), max(middle + reach, groups.mean)
    if found.shares:
        low, high = max(-1.0, low), min(1.0, high)
    return _found(groups, low, high), error, freedom


def _found(groups: Groups, low: float, high: float) -> Interval:
    return Interval(mean=groups.mean, low=low, high=high, n=groups.items, clusters=groups.clusters)


def _variance(groups: Groups) -> float:
    return groups.variance if groups.clusters > 1 else 0.0


def _freedom(groups: Groups) -> float:
    return groups.freedom if groups.clusters > 1 else 1.0
