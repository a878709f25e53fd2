"""What was decided, as the sentences need it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.verdict.candidate import BreakEven, Candidate
from eval.verdict.price import Order


@dataclass(frozen=True)
class Decided:
    """All candidates of a task and what became of each; see `Verdict`. `tolerance` is in points. `short` are
    those of the excluded that the budget has nothing to do with."""

    candidates: Sequence[Candidate]
    best: Candidate | None
    chosen: Candidate | None
    within: Sequence[Candidate]
    may_be: Mapping[str, int | None]
    excluded: Mapping[str, str]
    order: Order
    tolerance: float
    counted: bool
    metric: str | None
    short: Mapping[str, str]
    break_even: Sequence[BreakEven]
    hourly_rate: float | None

    @property
    def behind(self) -> list[Candidate]:
        """Those under the budget that are shown to be further behind than is tolerated."""
        kept = {one.arm for one in self.within} | set(self.may_be) | set(self.excluded)
        return [one for one in self.candidates if one.arm not in kept]

    def looks_good(self, one: Candidate) -> bool:
        """Whether its mean is less than the tolerance behind, whatever may be shown."""
        return one.gap is None or 100 * one.gap.difference.mean > -self.tolerance
