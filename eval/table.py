"""A table as plain values: the terminal, Markdown and the page only draw it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.costs import Latency
from eval.figures import NOTHING
from eval.report import ArmResult

ALONE = ("first token", "ms, alone", "p50 / p95")


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table: `text`, in the second place `aside`, and whether it deserves the eye."""

    text: str
    aside: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A heading of one or more lines, and the cells below it; `words` are aligned left, numbers right."""

    heading: tuple[str, ...]
    cells: tuple[Cell, ...]
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A title and columns of equal length."""

    title: str
    columns: tuple[Column, ...]


def names(arms: Sequence[ArmResult]) -> Column:
    """The first column: the arms' names."""
    return Column(("mode",), tuple(Cell(arm.name) for arm in arms), words=True)


def of_arm(arms: Sequence[ArmResult], heading: tuple[str, ...], fill: Callable[[ArmResult], Cell]) -> Column:
    """A column of arms."""
    return Column(heading, tuple(fill(arm) for arm in arms))


def latency(found: Latency | None) -> Cell:
    """Median and 95th percentile."""
    return Cell(NOTHING) if found is None else Cell(f"{found.median:.0f}", f"/ {found.p95:.0f}")


def number(value: float | None, digits: int = 0) -> Cell:
    """A number, or nothing."""
    return Cell(NOTHING if value is None else f"{value:.{digits}f}")


def training(arm: ArmResult) -> Cell:
    """Seconds of training; nothing for an arm without an adapter."""
    if arm.training_seconds is None:
        return Cell("?", "not recorded")
    return Cell(f"{arm.training_seconds:.0f} s" if arm.training_seconds else NOTHING)
