"""A run, from a plan to a run file.

gathered    who is asked: the service's modes with their versions pinned, and endpoints
begin       what holds for the whole run; leaks end it here
earlier     what was answered in an earlier sitting, or by an earlier run
ask         a few questions of each arm one at a time, then all others at once, in the order of the plan

The first are timed alone, as one user would see it, and their answers are as good as the others': nothing is asked
twice. There is no pause between two arms: a service that computes modes in one batch stays full until the last answer.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eval.context import unheld
from eval.header import begin, known
from eval.opinions import listening
from eval.parties import gathered
from eval.plan import Plan, plan
from eval.questioner import Questioner
from eval.resuming import Earlier, Resuming, earlier, revised
from eval.runfile import RunWriter
from eval.sitting import Progress, Sitting, alone
from ragtune.errors import Unavailable
from ragtune.remote import Target

__all__ = ["Done", "Plan", "Progress", "Resuming", "plan", "run_suite"]


@dataclass(frozen=True)
class Done:
    """What a sitting did: how many questions it `asked`, `kept` from earlier ones and `reused` from another run."""

    asked: int
    kept: int
    reused: int
    seconds: float


async def run_suite(
    planned: Plan, target: Target | None, folder: Path, progress: Progress, how: Resuming | None = None
) -> Done:
    """Ask everything that `folder` holds no item of yet, and complete the run there.

    Raises Unavailable if no service answers or it goes away, and what was answered stays to go on from; RefusedArtifact
    if it does not know an arm, examples were trained on, or the folder holds another run: before any question.
    """
    began, how = time.monotonic(), how or Resuming()
    suite = planned.suite
    async with gathered(suite, target) as parties, listening(suite, parties) as opinions:
        header = await begin(
            planned, parties, target.url if target else "", allow_leaks=how.allow_leaks, roots=how.roots
        )
        with closing(RunWriter(folder)) as writer:
            before = earlier(folder, header, how)
            kept = len(before.kept)
            progress.begin(len(planned.all) - kept, kept)
            if before.whole and before.header and kept == len(planned.all):
                writer.revise(revised(before.header, header))
                return Done(0, kept, 0, time.monotonic() - began)
            stands = await known(planned, parties, header.indexed)
            header = header.model_copy(update={"known": stands, **_so_far(before)})
            writer.begin(header, before.kept)
            questioner = Questioner(parties, opinions, suite.temperature, before.reusable)
            sitting = Sitting(questioner, parties, writer, progress, list(before.kept))
            with _resumable(sitting, planned, folder):
                await sitting.ask(planned)
            seconds = time.monotonic() - began
            whole: dict[str, object] = {"seconds": round(before.seconds + seconds, 2)}
            whole |= {"alone": alone(planned, sitting.items), "unheld": unheld(planned, sitting.items)}
            writer.publish(header.model_copy(update=whole), [question.key for question in planned.all])
    new = sitting.items[kept:]
    return Done(len(new), kept, sum(item.reused for item in new), seconds)


def _so_far(before: Earlier) -> dict[str, object]:
    """What earlier sittings of the run add to a header."""
    if before.header is None:
        return {}
    first = {"started": before.header.started, "sittings": before.header.sittings + 1}
    return first | {"seconds": round(before.seconds, 2)}


@contextmanager
def _resumable(sitting: Sitting, planned: Plan, folder: Path) -> Iterator[None]:
    """Whoever's service goes away is told how to go on."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(
            f"{error.message}; {len(sitting.items)} of {len(planned.all)} questions are answered. Once it is back, the "
            f"same command with --out {folder} asks the others"
        ) from error
