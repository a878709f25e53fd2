"""How many tokens the items of each task have, and what was left out of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.dataset import REASONS, Item, LeftOut, Reason
from ragtune.terminal import say_table


@dataclass(frozen=True)
class Spread:
    """Of some counts: the least, the median, what 95% do not exceed (nearest rank), the most, and the sum."""

    least: int
    median: int
    p95: int
    most: int
    total: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> "Spread":
        """All zero for no counts."""
        ordered = sorted(counts) or [0]
        middle, high = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
        return cls(ordered[0], middle, high, ordered[-1], sum(ordered))

    def __str__(self) -> str:
        return f"{self.least} / {self.median} / {self.p95} / {self.most}"


@dataclass(frozen=True)
class TaskTokens:
    """One task: how many examples, their tokens, and how many were left out for which reason."""

    task: str
    examples: int
    prompt: Spread
    answer: Spread
    left_out: Mapping[Reason, int]

    def cells(self, reasons: Sequence[Reason]) -> tuple[object, ...]:
        """Its row in a table with a column for each of `reasons`."""
        missed = (self.left_out.get(reason, 0) for reason in reasons)
        return (self.task, self.examples, self.prompt, self.prompt.total, self.answer, self.answer.total, *missed)


@dataclass(frozen=True)
class TokenStatistics:
    """One row a task, in order of their names."""

    tasks: tuple[TaskTokens, ...]

    @classmethod
    def of(cls, items: Sequence[Item], left_out: Sequence[LeftOut]) -> "TokenStatistics":
        """Of these items, and of what did not become one."""
        names = sorted({item.task for item in items} | {left.task for left in left_out})
        return cls(tuple(_of_task(name, items, left_out) for name in names))

    def show(self) -> None:
        """A table for the person watching; reasons that left out nothing have no column."""
        met = [reason for reason in REASONS if any(row.left_out.get(reason) for row in self.tasks)]
        spread = "tokens: min / median / p95 / max"
        columns = ("task", "examples", f"prompt {spread}", "total", f"answer {spread}", "total", *met)
        say_table(columns, [row.cells(met) for row in self.tasks])


def _of_task(task: str, items: Sequence[Item], left_out: Sequence[LeftOut]) -> TaskTokens:
    own = [item for item in items if item.task == task]
    prompts, answers = Spread.of([len(i.prompt) for i in own]), Spread.of([len(i.answer) for i in own])
    return TaskTokens(task, len(own), prompts, answers, Counter(o.reason for o in left_out if o.task == task))
