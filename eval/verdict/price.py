"""What an arm costs a month, and which of several is the cheapest.

A month's cost is queries x price + what is paid once + updates x what each takes; what takes seconds of the machine
costs them at the hourly rate. What is paid once is paid back within that month.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.suite import Budget
from eval.verdict.candidate import BreakEven, Candidate, Costs
from eval.verdict.figures import milliseconds, money, seconds

SAME = 1.1  # costs within 10 % of the least count as equal: timings of a few requests tell no more


@dataclass(frozen=True)
class Bill:
    """Prices of one arm: of a query, of what is paid once, of an update; None where it is not known."""

    query: float | None
    once: float | None
    update: float | None

    def month(self, queries: float, updates: float) -> float | None:
        """Of so many queries and updates; None where something that counts is not known."""
        if self.query is None or self.once is None or (self.update is None and updates):
            return None
        return queries * self.query + self.once + updates * (self.update or 0.0)


def bill(costs: Costs, hourly_rate: float | None) -> Bill:
    """The prices; without an hourly rate only no seconds cost nothing."""

    def worth(*seconds: float | None) -> float | None:
        known = [value for value in seconds if value is not None]
        if len(known) < len(seconds) or (hourly_rate is None and any(known)):
            return None
        return sum(known) * (hourly_rate or 0.0) / 3600

    query = None if costs.price_per_1000 is None else costs.price_per_1000 / 1000
    return Bill(query, worth(costs.training_seconds, costs.index_seconds), worth(costs.update_seconds))


def price_per_1000(costs: Costs, budget: Budget, hourly_rate: float | None) -> float | None:
    """Of 1,000 queries with their part of training and updates, where the budget says how many queries there are."""
    if budget.queries is None:
        return costs.price_per_1000
    month = bill(costs, hourly_rate).month(budget.queries, budget.updates or 0.0)
    return None if month is None else 1000 * month / budget.queries


@dataclass(frozen=True)
class Order:
    """How arms are ordered by cost: `words` say what is compared, `written` writes it."""

    words: str
    costs: dict[str, float | None]
    written: Callable[[float], str]

    def first(self, candidates: Sequence[Candidate]) -> Candidate:
        """The cheapest; of those within 10 % of it the one with the least training, then the better one."""
        least = min(self._cost(candidate) for candidate in candidates)
        equal = [candidate for candidate in candidates if self._cost(candidate) <= SAME * least]
        return min(equal, key=lambda one: (_or_last(one.costs.training_seconds), -one.quality.mean, one.arm))

    def cheaper(self, first: str, second: str) -> bool:
        """Whether the first arm is cheaper for sure, by more than 10 %."""
        one, other = self.costs[first], self.costs[second]
        return one is not None and other is not None and other > SAME * one

    def _cost(self, candidate: Candidate) -> float:
        return _or_last(self.costs[candidate.arm])


def order(candidates: Sequence[Candidate], budget: Budget, hourly_rate: float | None) -> Order:
    """By price if all have one, else by the time of a whole answer, else by training. What lacks it comes last."""
    prices = {one.arm: price_per_1000(one.costs, budget, hourly_rate) for one in candidates}
    if prices and all(price is not None for price in prices.values()):
        shared = ", training and updates included" if budget.queries else ", training not included"
        return Order(f"price of 1,000 queries{shared}", prices, money)
    times = {one.arm: one.costs.p95_ms for one in candidates}
    if any(time is not None for time in times.values()):
        return Order("time to the whole answer (p95, alone)", times, milliseconds)
    return Order("time of training", {one.arm: one.costs.training_seconds for one in candidates}, seconds)


def break_even(chosen: Candidate, other: Candidate, budget: Budget, hourly_rate: float | None) -> BreakEven | None:
    """Where both cost the same; None if their prices are not known. Updates need the number of queries."""
    mine, theirs = bill(chosen.costs, hourly_rate), bill(other.costs, hourly_rate)
    updates = budget.updates or 0.0
    bare = mine.month(0, updates), theirs.month(0, updates)
    if bare[0] is None or bare[1] is None or mine.query is None or theirs.query is None:
        return None
    names = chosen.arm, other.arm
    queries = _crossing(bare[0], mine.query, bare[1], theirs.query)
    at_queries = _crossing_of_updates(mine, theirs, budget.queries) if budget.queries else None
    return BreakEven(
        chosen=chosen.arm,
        other=other.arm,
        queries=queries,
        below_queries=None if queries is None else names[bare[0] > bare[1]],
        updates=at_queries,
        below_updates=None if at_queries is None else names[_dearer_update(mine, theirs)],
    )


def _crossing(start: float, slope: float, other_start: float, other_slope: float) -> float | None:
    """Where two lines meet right of 0, or None."""
    if slope == other_slope:
        return None
    place = (other_start - start) / (slope - other_slope)
    return place if place > 0 and math.isfinite(place) else None


def _crossing_of_updates(mine: Bill, theirs: Bill, queries: float) -> float | None:
    starts = mine.month(queries, 0), theirs.month(queries, 0)
    if starts[0] is None or starts[1] is None or mine.update is None or theirs.update is None:
        return None
    return _crossing(starts[0], mine.update, starts[1], theirs.update)


def _dearer_update(mine: Bill, theirs: Bill) -> bool:
    """Whether mine updates cheaper: then the other one is the cheaper below the crossing, and mine above."""
    return (mine.update or 0.0) < (theirs.update or 0.0)


def _or_last(cost: float | None) -> float:
    return math.inf if cost is None else cost
