"""The cheapest arm that is good enough.

Good enough is shown, not presumed: the lower bound of arm minus best must be above minus the tolerance
(non-inferiority). An arm that is merely not told apart from the best may be as good, which is said, with how many more
items would tell.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from eval.figures import PRACTICAL
from eval.pareto import Point, front
from eval.suite import Budget
from eval.verdict.candidate import BreakEven, Candidate, Verdict
from eval.verdict.changes import changes
from eval.verdict.decided import Decided
from eval.verdict.limits import excluded
from eval.verdict.price import break_even, order
from eval.verdict.sentences import words

NO_COMMON_ITEMS = "it shares no item with the best"


def verdict(
    candidates: Sequence[Candidate],
    budget: Budget,
    tolerance: float,
    *,
    hourly_rate: float | None = None,
    counted: bool = False,
    metric: str | None = None,
    short: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """The verdict on one task; all candidates are of that task, at least one.

    `tolerance` is in points, as in a suite. `hourly_rate` gives seconds of training and indexing a price. `counted`:
    the score is a share of right answers, so that `71 of 100 questions` may be said; else `metric` is named. `short`
    says by arm why it cannot be chosen, whatever it costs; one that has no score at all is there, and no candidate.
    Whoever compares the candidates seeks the best among those that `excluded` and `short` leave.
    """
    out = _out(excluded({one.arm: one.costs for one in candidates}, budget), short)
    allowed = [one for one in candidates if one.arm not in out]
    best = max(allowed, key=lambda one: (one.gap is None, one.quality.mean, one.arm), default=None)
    out |= {one.arm: NO_COMMON_ITEMS for one in allowed if one.gap is None and one is not best}
    allowed = [one for one in allowed if one.arm not in out]
    within = [one for one in allowed if one is best or _within(one, tolerance / 100)]
    open_ = {one.arm: _more(one, tolerance / 100) for one in allowed if one not in within and _may_be(one, tolerance)}
    by = order(allowed, within, budget, hourly_rate)
    chosen = by.first(within) if within else None
    ahead = front([_point(one, by.value(one.arm)) for one in allowed])
    even = _break_even(chosen, [one for one in allowed if one.arm in ahead], budget, hourly_rate)
    decided = Decided(
        candidates, best, chosen, within, open_, out, by, tolerance, counted, metric, short, even, hourly_rate
    )
    return Verdict(
        task=candidates[0].task,
        best=best.arm if best else None,
        chosen=chosen.arm if chosen else None,
        order=by.words,
        words=words(decided),
        within=tuple(one.arm for one in within),
        may_be=open_,
        excluded=out,
        front=tuple(one.arm for one in allowed if one.arm in ahead),
        would_change=changes(decided),
        coverage=min(_coverage(candidates, short)),
        break_even=even,
    )


def _out(over: Mapping[str, str], short: Mapping[str, str]) -> dict[str, str]:
    """All reasons of each."""
    arms = dict.fromkeys([*short, *over])
    return {arm: "; ".join(found[arm] for found in (short, over) if arm in found) for arm in arms}


def _coverage(candidates: Sequence[Candidate], short: Mapping[str, str]) -> list[float]:
    known = {one.arm for one in candidates}
    return [*(one.coverage for one in candidates), *(0.0 for arm in short if arm not in known)]


def _within(one: Candidate, tolerance: float) -> bool:
    return one.gap is not None and one.gap.difference.low > -tolerance


def _may_be(one: Candidate, tolerance: float) -> bool:
    """Not shown to be within, and not shown to be further behind either."""
    return one.gap is not None and one.gap.difference.high > -tolerance / 100


def _more(one: Candidate, tolerance: float) -> int | None:
    """About how many more items would tell, at 80 % power, whether the arm is within, if the gap stays what it is.

    What decides is the interval of this one gap, at 5 % whatever the family. None: the gap lies so near to -tolerance
    that nobody would ask so many, or a single document says nothing about it.
    """
    assert one.gap is not None
    more = one.gap.more_until(abs(one.gap.difference.mean + tolerance), 0.05)
    return None if more is None or more > PRACTICAL else max(1, more)


def _point(one: Candidate, cost: float | None) -> Point:
    costs = one.costs
    return Point(
        one.arm,
        one.quality.mean,
        (
            cost,
            costs.answer.median if costs.answer else None,
            costs.first_token_ms,
            costs.price_per_1000,
            costs.training_seconds,
            costs.training_memory,
        ),
    )


def _break_even(
    chosen: Candidate | None, ahead: Sequence[Candidate], budget: Budget, hourly_rate: float | None
) -> tuple[BreakEven, ...]:
    if chosen is None:
        return ()
    found = [break_even(chosen, other, budget, hourly_rate) for other in ahead if other is not chosen]
    return tuple(one for one in found if one is not None)
