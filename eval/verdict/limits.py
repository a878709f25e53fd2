"""The budget: which arms it excludes, and why."""

from collections.abc import Mapping

from eval.costs import ENOUGH
from eval.suite import Budget
from eval.verdict.candidate import Costs
from eval.verdict.figures import memory, milliseconds, money, seconds

_LIMITS = (
    ("p95_ms", "its whole answer takes", "the time of its whole answer", milliseconds),
    ("first_token_ms", "its first token takes", "the time of its first token", milliseconds),
    ("price_per_1000", "1,000 queries cost", "the price of its queries", money),
    ("training_seconds", "its training takes", "the time of its training", seconds),
    ("training_memory", "its training needs", "the memory of its training", memory),
    ("artifact_bytes", "what it learned fills", "the size of what it learned", memory),
)


def breach(costs: Costs, budget: Budget) -> str | None:
    """Why the budget excludes an arm, all its breaches in one sentence; None if it does not.

    A cost that is limited and not known is a breach: nobody can say that the limit is kept.
    """
    reasons = []
    for name, takes, what, written in _LIMITS:
        limit, cost = getattr(budget, name), getattr(costs, name)
        if limit is None:
            continue
        if cost is None:
            reasons.append(f"{what} is not known, and the budget allows {written(limit)}")
        elif cost > limit:
            reasons.append(f"{takes} {written(cost)}{_of(name, costs)}, and the budget allows {written(limit)}")
    return "; ".join(reasons) or None


def _of(name: str, costs: Costs) -> str:
    """Of few requests the p95 is the slowest."""
    if costs.answer is None or costs.answer.n >= ENOUGH or name not in ("p95_ms", "first_token_ms"):
        return ""
    return f" (the slowest of {costs.answer.n} requests alone)"


def excluded(costs: Mapping[str, Costs], budget: Budget) -> dict[str, str]:
    """By arm, why the budget excludes it; the others are not in it. The best is to be sought among those."""
    reasons = {arm: breach(known, budget) for arm, known in costs.items()}
    return {arm: reason for arm, reason in reasons.items() if reason}
