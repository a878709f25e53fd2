"""The verdict: the cheapest arm that is good enough under the budget, in words, with what would change it."""

from eval.verdict.candidate import BreakEven, Candidate, Costs, Timing, Verdict
from eval.verdict.decision import NO_COMMON_ITEMS, verdict
from eval.verdict.limits import breach, excluded

__all__ = [
    "NO_COMMON_ITEMS",
    "BreakEven",
    "Candidate",
    "Costs",
    "Timing",
    "Verdict",
    "breach",
    "excluded",
    "verdict",
]
