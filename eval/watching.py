"""A run's progress for the person watching: how many are asked, how long it will take, and how many failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ragtune.terminal import Task, progress, say


@dataclass
class Watched:
    """A bar that knows its length once it is known what is missing."""

    bar: Task
    failed: int = 0

    def begin(self, missing: int, kept: int) -> None:
        """So many are to be asked; so many were in an earlier sitting."""
        self.bar.total(missing)
        if kept:
            say(f"{kept} questions were asked in an earlier sitting; {missing} are missing")

    def advance(self, arm: str, error: str | None) -> None:
        """One was asked."""
        self.failed += error is not None
        self.bar.describe(f"{arm}, {self.failed} failed" if self.failed else arm)
        self.bar.advance()


@contextmanager
def watching() -> Iterator[Watched]:
    """The bar, while the context is open."""
    with progress("asking", None) as bar:
        watched = Watched(bar)
        yield watched
    if watched.failed:
        say(f"{watched.failed} questions failed; ask them again with --retry-failed and the same --out")
