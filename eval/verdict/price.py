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

SAME = 1.1  # costs that differ by less than 10 % count as equal


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


@dataclass(frozen=True)
class Amount:
    """A cost, and the quartiles of what it is made of; all the same where it is no measurement."""

    value: float
    low: float
    high: float

    def less_than(self, other: "Amount") -> bool:
        """For sure: by more than 10 %, and the ranges do not meet. A few timings tell no more."""
        return other.value > SAME * self.value and other.low > self.high


def bill(costs: Costs, hourly_rate: float | None) -> Bill:
    """The prices; without an hourly rate only no seconds cost nothing, and training what was recorded.

    An outside arm costs its queries alone, as far as is known here.
    """

    def worth(*seconds: float | None) -> float | None:
        known = [value for value in seconds if value is not None]
        if len(known) < len(seconds) or (hourly_rate is None and any(known)):
            return None
        return sum(known) * (hourly_rate or 0.0) / 3600

    query = None if costs.price_per_1000 is None else costs.price_per_1000 / 1000
    if costs.outside:
        return Bill(query, 0.0, 0.0)
    once = worth(costs.training_seconds, costs.index_seconds)
    if once is None and costs.training_price is not None and (index := worth(costs.index_seconds)) is not None:
        once = costs.training_price + index
    return Bill(query, once, worth(costs.update_seconds))


def price_per_1000(costs: Costs, budget: Budget, hourly_rate: float | None) -> Amount | None:
    """Of 1,000 queries with their part of training and updates, where the budget says how many queries there are."""
    bare = costs.price_per_1000
    if bare is None:
        return None
    shared = 0.0
    if budget.queries is not None:
        month = bill(costs, hourly_rate).month(budget.queries, budget.updates or 0.0)
        if month is None:
            return None
        shared = 1000 * month / budget.queries - bare
    low, high = costs.price_range or (bare, bare)
    return Amount(bare + shared, low + shared, high + shared)


@dataclass(frozen=True)
class Order:
    """How arms are ordered by cost: `words` say what is compared, `written` writes it."""

    words: str
    costs: dict[str, Amount | None]
    written: Callable[[float], str]

    def first(self, candidates: Sequence[Candidate]) -> Candidate:
        """The cheapest; of those not surely dearer the one with the least training, then the better one."""
        least = min(candidates, key=lambda one: _or_last(self.value(one.arm)))
        equal = [one for one in candidates if one is least or self._alike(least.arm, one.arm)]
        return min(equal, key=lambda one: (_or_last(one.costs.training_seconds), -one.quality.mean, one.arm))

    def cheaper(self, first: str, second: str) -> bool:
        """Whether the first arm is surely cheaper."""
        one, other = self.costs.get(first), self.costs.get(second)
        return one is not None and other is not None and one.less_than(other)

    def value(self, arm: str) -> float | None:
        """What the arm costs."""
        found = self.costs.get(arm)
        return found.value if found else None

    def _alike(self, first: str, second: str) -> bool:
        return (self.value(first) is None) == (self.value(second) is None) and not self.cheaper(first, second)


def order(
    candidates: Sequence[Candidate], within: Sequence[Candidate], budget: Budget, hourly_rate: float | None
) -> Order:
    """The costs of all candidates; what lacks one comes last.

    Prices if all `within` have one, else the times of a whole answer if one of these has one, else of training.
    """
    prices = {one.arm: price_per_1000(one.costs, budget, hourly_rate) for one in candidates}
    if within and all(prices[one.arm] is not None for one in within):
        shared = ", training and updates included" if budget.queries else ", training not included"
        return Order(f"price of 1,000 queries{shared}{_of([o for o in within if o.costs.price_range])}", prices, money)
    times = {one.arm: _time(one.costs) for one in candidates}
    if any(times[one.arm] is not None for one in within):
        return Order(f"median time to the whole answer{_of(within)}", times, milliseconds)
    trained = {one.arm: one.costs.training_seconds for one in candidates}
    return Order("time of training", {arm: _exact(cost) for arm, cost in trained.items()}, seconds)


def _of(timed: Sequence[Candidate]) -> str:
    """Of how many requests the times are."""
    counts = sorted({one.costs.answer.n for one in timed if one.costs.answer})
    if not counts:
        return ""
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f", of {many} request{'s' * (counts[-1] > 1)} alone"


def _time(costs: Costs) -> Amount | None:
    found = costs.answer
    return Amount(found.median, found.low, found.high) if found else None


def _exact(cost: float | None) -> Amount | None:
    return None if cost is None else Amount(cost, cost, cost)


def break_even(chosen: Candidate, other: Candidate, budget: Budget, hourly_rate: float | None) -> BreakEven | None:
    """Where both cost the same, in machine seconds where their prices are not known; None if neither is known.

    Queries that cost alike pay nothing back. Updates need prices and the number of queries.
    """
    mine, theirs = bill(chosen.costs, hourly_rate), bill(other.costs, hourly_rate)
    updates = budget.updates or 0.0
    bare = mine.month(0, updates), theirs.month(0, updates)
    if bare[0] is None or bare[1] is None or mine.query is None or theirs.query is None:
        return _in_seconds(chosen, other)
    names = chosen.arm, other.arm
    queries = _crossing(bare[0], mine.query, bare[1], theirs.query)
    if _alike(_bare_price(chosen.costs), _bare_price(other.costs)):
        queries = None
    at_queries = _crossing_of_updates(mine, theirs, budget.queries) if budget.queries else None
    return BreakEven(
        chosen=chosen.arm,
        other=other.arm,
        queries=queries,
        below_queries=None if queries is None else names[bare[0] > bare[1]],
        updates=at_queries,
        below_updates=None if at_queries is None else names[_dearer_update(mine, theirs)],
    )


def _in_seconds(chosen: Candidate, other: Candidate) -> BreakEven | None:
    """Training and index against the time of answers, both on the machine."""
    mine, theirs = _once_seconds(chosen.costs), _once_seconds(other.costs)
    times = _time(chosen.costs), _time(other.costs)
    if mine is None or theirs is None or times[0] is None or times[1] is None:
        return None
    queries = _crossing(mine, times[0].value / 1000, theirs, times[1].value / 1000)
    if queries is None or _alike(*times):
        return None
    below = (chosen.arm, other.arm)[mine > theirs]
    return BreakEven(chosen=chosen.arm, other=other.arm, queries=queries, below_queries=below, unit="seconds")


def _once_seconds(costs: Costs) -> float | None:
    if costs.outside or costs.training_seconds is None or costs.index_seconds is None:
        return None
    return costs.training_seconds + costs.index_seconds


def _bare_price(costs: Costs) -> Amount | None:
    return price_per_1000(costs, Budget(), None)


def _alike(one: Amount | None, other: Amount | None) -> bool:
    return one is not None and other is not None and not one.less_than(other) and not other.less_than(one)


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
