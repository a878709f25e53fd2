"""Interference: what training several tasks together did to each, beside training it alone."""

from collections.abc import Mapping

from adapters.manifest import TaskBill


def interference(task: TaskBill) -> str:
    """`together 0.52, alone 0.50: +0.02`: validation losses in nats a token; a plus is what the others cost it."""
    if task.validation_loss is None:
        return "not known: no validation example is of this task"
    if task.alone is None:
        return f"together {task.validation_loss:.2f}, not trained alone"
    change = round(task.validation_loss, 2) - round(task.alone, 2)  # of what is shown, so that it adds up
    return f"together {task.validation_loss:.2f}, alone {task.alone:.2f}: {change:+.2f}"


def interference_rows(tasks: Mapping[str, TaskBill]) -> list[tuple[str, str, str]]:
    """Of each task its name, what it contributed, and `interference`."""
    return [(name, f"{task.examples:,} examples, {task.share:.0%}", interference(task)) for name, task in tasks.items()]
