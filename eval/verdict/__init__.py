"""The verdict: the cheapest arm that is good enough under the budget, in words, with what would change it."""

from eval.verdict.candidate import BreakEven, Candidate, Costs, Verdict
from eval.verdict.decision import verdict
from eval.verdict.limits import breach, excluded

__all__ = ["BreakEven", "Candidate", "Costs", "Verdict", "breach", "excluded", "verdict"]
