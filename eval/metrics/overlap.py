"""What was found against what was wanted: the counts behind precision, recall and F1 (van Rijsbergen 1979)."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Overlap:
    """How many were found, how many wanted, and how many are both; what occurs twice counts twice."""

    shared: int
    found: int
    wanted: int

    @classmethod
    def between(cls, found: Iterable[Hashable], wanted: Iterable[Hashable]) -> "Overlap":
        """The counts of two collections."""
        ours, theirs = Counter(found), Counter(wanted)
        return cls((ours & theirs).total(), ours.total(), theirs.total())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was wanted, and nothing found."""
        return not (self.found or self.wanted)

    @property
    def precision(self) -> float | None:
        """The share of what was found that was wanted; None if nothing was found."""
        return self.shared / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """The share of what was wanted that was found; None if nothing was wanted."""
        return self.shared / self.wanted if self.wanted else None

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where nothing is shared."""
        return 2 * self.shared / (self.found + self.wanted) if self.shared else 0.0
