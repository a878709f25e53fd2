"""What was trained on cannot be tested on: held-out examples that stand in the training files, told before any work.

Exact only: the same question after the same context and history, letter for letter but for case and white space, with
an answer in common. `ragtune train` looks for those that are worded a little differently, too, and `ragtune eval run`
looks again.
"""

import unicodedata
from collections.abc import Sequence

from ragtune.bakeoff.task import Task
from ragtune.errors import RefusedArtifact
from ragtune.examples import Example

_SHOWN = 5


def check_leaks(tasks: Sequence[Task]) -> None:
    """Raises RefusedArtifact, naming up to five, if held-out examples of any task are trained on by any task."""
    known = {(_question(e), answer): e.id for task in tasks for e in task.train for answer in _answers(e)}
    leaks = [
        f"{e.id} ({task.name}) is {known[_question(e), answer]} of the training examples: {e.query[:80]!r}"
        for task in tasks
        for e in task.heldout
        for answer in sorted(_answers(e))
        if (_question(e), answer) in known
    ]
    if leaks:
        shown = "\n  ".join(leaks[:_SHOWN])
        raise RefusedArtifact(
            f"{len(leaks)} held-out examples are trained on, so figures on them would be too good; take them out of "
            f"one of the files:\n  {shown}"
        )


def _question(example: Example) -> tuple[str, ...]:
    said = "\n".join(message.content for message in example.history)
    return _plain(example.context), _plain(said), _plain(example.query)


def _answers(example: Example) -> set[str]:
    return set(map(_plain, example.answers))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
