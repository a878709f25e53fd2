"""All that a bake-off might ask, before it is known what of it: every technique on every held-out question.

What the evaluator refuses of this it would refuse once hours of training are done.
"""

from collections.abc import Sequence
from pathlib import Path

from ragtune.bakeoff.arms import Trained, arms
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.suite import Comparison, suite
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.technique import TECHNIQUES


def draft(name: str, tasks: Sequence[Task], files: Files, comparisons: Sequence[Comparison]) -> str:
    """The suite's text, for the folder of `files`."""
    most = max(len(task.heldout) for task in tasks)
    trained = [Trained(task.name, technique) for task in tasks for technique in TECHNIQUES]
    templates = {task.name: (f"{task.name}-few-shot", f"{task.name}-few-shot-passages") for task in tasks}
    served = dict.fromkeys(templates, True)
    return suite(
        name,
        tasks,
        arms(tasks, served, templates, trained, items=most, combined=True),
        items=most,
        concurrency=1,
        trained_on=[Path(files.train(task.name).name) for task in tasks],
        heldout={task.name: Path(files.heldout(task.name).name) for task in tasks},
        comparisons=comparisons,
    )
