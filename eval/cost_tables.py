"""The tables of what answers cost, what is paid once, and what effort each arm was given."""

from collections.abc import Callable

from eval.effort import Effort, brief
from eval.figures import NOTHING, duration, money, size
from eval.report import ArmResult, Report
from eval.runfile import Indexed, Trained
from eval.table import ALONE, Cell, Column, Table, latency, names, number, of_arm, training


def costs(report: Report) -> Table:
    """One row an arm: times and tokens, over all it was asked, and the price where it is known."""
    arms = report.arms
    at_once = f"ms, {report.header.suite.concurrency} at once"
    columns = [
        names(arms),
        of_arm(arms, ALONE, lambda arm: latency(arm.cost.first_alone)),
        of_arm(arms, ("answer", "ms, alone", "p50 / p95"), lambda arm: latency(arm.cost.whole_alone)),
        of_arm(arms, ("first token", at_once, "p50 / p95"), lambda arm: latency(arm.cost.first_loaded)),
        of_arm(arms, ("answer", at_once, "p50 / p95"), lambda arm: latency(arm.cost.whole_loaded)),
        of_arm(arms, ("prompt", "tokens"), lambda arm: number(arm.cost.prompt_tokens)),
        of_arm(arms, ("cached", "tokens"), lambda arm: number(arm.cost.cached_tokens)),
        of_arm(arms, ("new", "tokens"), lambda arm: number(arm.cost.completion_tokens)),
    ]
    if any(arm.cost.price is not None for arm in arms):
        columns.append(of_arm(arms, ("price of", "1,000 queries"), _price))
    columns += [
        of_arm(arms, ("training",), training),
        of_arm(arms, ("retries",), lambda arm: Cell(str(arm.retries))),
    ]
    return Table("What answers cost", tuple(columns))


def bills(report: Report) -> Table:
    """One row an arm that needs an adapter or an index, controls left out: what it costs before the first query."""
    arms = [arm for arm in report.arms if (arm.once.trained or arm.once.indexed) and not arm.control]

    def trained(heading: tuple[str, ...], fill: Callable[[Trained], Cell]) -> Column:
        return of_arm(arms, heading, lambda arm: fill(arm.once.trained) if arm.once.trained else Cell(NOTHING))

    def indexed(heading: tuple[str, ...], fill: Callable[[Indexed], Cell]) -> Column:
        return of_arm(arms, heading, lambda arm: fill(arm.once.indexed) if arm.once.indexed else Cell(NOTHING))

    return Table(
        "What it costs once",
        (
            names(arms),
            trained(("training",), lambda bill: _duration(bill.seconds)),
            trained(("memory,", "peak"), lambda bill: _size(bill.peak_memory)),
            trained(("artefact",), lambda bill: _size(bill.artifact_bytes)),
            trained(("steps",), lambda bill: _recorded(bill.steps)),
            trained(("rates", "searched"), lambda bill: _recorded(bill.rates)),
            indexed(("index", "build"), lambda index: _duration(index.seconds)),
            indexed(("passages", "indexed"), lambda index: _recorded(index.passages)),
        ),
    )


def effort(report: Report) -> Table:
    """One row an arm: what it was given besides its technique."""
    found = report.efforts

    def column(*heading: str, fill: Callable[[Effort], Cell], words: bool = False) -> Column:
        return Column(heading, tuple(fill(each) for each in found), words)

    def trained(*heading: str, fill: Callable[[Trained], Cell]) -> Column:
        return column(*heading, fill=lambda each: fill(each.trained) if each.trained else Cell(NOTHING))

    return Table(
        "Effort: what each mode was given",
        (
            column("mode", fill=lambda each: Cell(each.arm), words=True),
            trained("rates", "searched", fill=lambda bill: _recorded(bill.rates)),
            trained("steps", fill=lambda bill: _recorded(bill.steps)),
            trained("examples", fill=lambda bill: _recorded(bill.examples)),
            trained("data", fill=lambda bill: _recorded(bill.data and brief(bill.data))),
            column("passages", "a prompt", fill=lambda each: number(each.passages, 1)),
            column("prompt", "tokens", fill=lambda each: number(each.prompt_tokens)),
            column("told the", "format", fill=lambda each: Cell("yes" if each.instruction else NOTHING)),
            column("asked", fill=lambda each: Cell(str(each.asked))),
            column("retries", fill=lambda each: Cell(str(each.retries))),
        ),
    )


def _duration(seconds: float | None) -> Cell:
    return Cell("?" if seconds is None else duration(seconds))


def _size(count: float | None) -> Cell:
    return Cell("?" if count is None else size(count))


def _price(arm: ArmResult) -> Cell:
    if arm.cost.price is None:
        return Cell(NOTHING) if arm.control else Cell("?", "not known")
    return Cell(money(arm.cost.price))


def _recorded(value: object) -> Cell:
    """What is not recorded is a question mark."""
    return Cell("?" if value is None else str(value))
