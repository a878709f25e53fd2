"""The last screen of a bake-off: the verdict in words, the table and telling answers, the bill, and how to go on."""

import shlex

import click

from ragtune.bakeoff.evaluation import EXAMPLES
from ragtune.bakeoff.outcome import Outcome, read_rulings
from ragtune.bakeoff.workplace import Workplace, near
from ragtune.stages import print_bill
from ragtune.terminal import results, say, show


def show_outcome(place: Workplace, outcome: Outcome) -> None:
    """All of it, on stdout."""
    for ruling in read_rulings(place.files.report):
        show(f"\n{ruling.task}: {ruling.chosen or 'no arm is good enough'}")
        for sentence in ruling.words:
            show(f"  {sentence}")
        if some := outcome.sampled.get(ruling.task):
            show(f"  Not to choose from, as they were asked a sample only: {', '.join(some)}.")
    results.print()
    place.commands.run("eval", "report", str(place.files.evaluation), "--examples", str(EXAMPLES))
    for left in outcome.failed:
        show(f"failed: {left.what} ({left.why})")
    for left in outcome.plan.left_out:
        show(f"left out: {left.what} ({left.why})")
    results.print()
    print_bill(outcome.stages)
    show(f"\nThe whole report: {near(outcome.page)}")


def offer_best(place: Workplace, outcome: Outcome, *, yes: bool, ask: bool) -> bool:
    """Whether the aliases of the verdict were set: at once if `yes`, or if the person who is asked wants it."""
    if not outcome.best:
        say("the verdict names no mode that could become the alias 'best'")
        return False
    words = ", ".join(f"{best.alias} mean {best.mode}" for best in outcome.best)
    if not yes and not (ask and click.confirm(f"\nLet {words}?", default=True)):
        return False
    for best in outcome.best:
        place.command("mode", "alias", best.alias, best.mode)
    return True


def show_going_on(place: Workplace, outcome: Outcome, settings: str = "", *, aliases: bool = True) -> None:
    """What to type next: `settings` are those the bake-off ran under, as one sets them; `aliases`, whether those of the
    verdict are still to be set."""
    home = shlex.quote(str(place.files.home))
    lines = [
        f"export RAGTUNE_HOME={home} {settings}".rstrip(),
        *(f"ragtune mode alias {best.alias} {best.mode}" for best in outcome.best if aliases),
        "ragtune serve",
        f"ragtune eval report {shlex.quote(near(place.files.evaluation))} --wide      # every metric and all costs",
        f"ragtune eval run {shlex.quote(near(place.files.suite))}      # the same again, beside a running service",
    ]
    show("\nGo on:\n")
    for line in lines:
        show(f"  {line}")
