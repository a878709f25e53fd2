"""Two arms on the same items: the difference, whether it may be chance, and what could have been found.

The test is decisive: a difference is told if its p, adjusted where several are told at once, is below alpha. Its
interval must leave out 0 as well, so that what is shown never contradicts itself; else it is a tie. A tie does not say
that the arms are equal: `detectable` is how large a difference these items would have found. In a family it is the one
found at the level that Holm's method asks of the clearest, alpha / their number: the others are asked less.
"""

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri, stdtrit

from eval.statistics.groups import grouped
from eval.statistics.interval import Interval, Pairs, of_differences, pairs
from eval.statistics.significance import Test, mcnemar, sign_flip

POWER = 0.8
_NOTHING = 1e-6  # a difference that no number of items would tell


class Compared(BaseModel):
    """First minus second. `p` is of this comparison alone, `adjusted` in the family it was told with.

    `error` is the standard error of the difference, with its degrees of `freedom`; None for a single cluster, which
    shows none. `detectable`: the least true difference that as many items find 80 % of the time in this family; None
    without an error, and for shares 1 at most. `more_items`: of a tie, about how many more would tell a difference as
    large as the one seen, or as `matters`, if that is larger; 0: as many as there are would have told it; None: no tie,
    or there is nothing to tell, or nobody can say.
    """

    model_config = ConfigDict(frozen=True)

    difference: Interval
    p: float
    adjusted: float
    test: Test
    error: float | None
    freedom: float
    shares: bool
    detectable: float | None = None
    matters: float = 0.0
    more_items: int | None = None
    verdict: Literal["better", "worse", "tie"] = "tie"

    def more_until(self, sought: float, alpha: float) -> int | None:
        """About how many more items find a true difference of `sought` at this level, two-sided, with a power of 80 %.

        The error falls with the root of the number of items, as long as clusters stay as large; with more of them the
        quantiles are the normal distribution's.
        """
        if self.error is None or sought < _NOTHING:
            return None
        factor = float(ndtri(1 - alpha / 2) + ndtri(POWER))
        return max(0, math.ceil(self.difference.n * ((factor * self.error / sought) ** 2 - 1)))


def compared(
    first: Mapping[str, float],
    second: Mapping[str, float],
    clusters: Mapping[str, str] | None = None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    matters: float = 0.0,
) -> Compared | None:
    """The comparison on the items that both have; None if they share none. An item without a cluster is its own.

    Scores of repeats are to be averaged first, an item has one. `matters` is the least difference of interest, in the
    unit of the scores.
    """
    found = pairs(first, second, clusters)
    if found is None:
        return None
    difference, error, freedom = of_differences(found)
    p, test = _tested(found, seed)
    bare = Compared(
        difference=difference,
        p=p,
        adjusted=p,
        test=test,
        error=error,
        freedom=freedom,
        shares=found.shares,
        matters=matters,
    )
    return told(bare, p, alpha)


def told(one: Compared, adjusted: float, alpha: float, members: int = 1) -> Compared:
    """The same comparison with this adjusted p and the verdict by it; what could be found is as one of `members`."""
    apart = adjusted < alpha and (one.difference.low > 0 or one.difference.high < 0)
    verdict = ("better" if one.difference.mean > 0 else "worse") if apart else "tie"
    level = alpha / members
    more = None if apart else one.more_until(max(abs(one.difference.mean), one.matters), level)
    found = {"adjusted": adjusted, "verdict": verdict, "more_items": more, "detectable": _detectable(one, level)}
    return one.model_copy(update=found)


def _detectable(one: Compared, alpha: float) -> float | None:
    if one.error is None:
        return None
    least = one.error * float(stdtrit(one.freedom, 1 - alpha / 2) + stdtrit(one.freedom, POWER))
    return min(1.0, least) if one.shares else least


def _tested(found: Pairs, seed: int) -> tuple[float, Test]:
    groups = grouped(found.differences, found.clusters)
    if found.right_or_wrong and groups.clusters == groups.items:
        return mcnemar(int((groups.sums > 0).sum()), int((groups.sums < 0).sum())), "mid-p McNemar"
    return sign_flip(groups.sums, seed), "sign-flip permutation"
