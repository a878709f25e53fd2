"""Templates made from training examples: what prompting alone can do with the same data.

A few examples are shown as they are, with the form of the answer asked for in words. Where a task is answered from
passages there is a second template whose examples show passages, numbered as in the prompts made by it.
"""

from collections.abc import Mapping, Sequence

from ragtune.bakeoff.task import Task, drawn
from ragtune.bakeoff.toml import written
from ragtune.examples import UNANSWERABLE, Example
from ragtune.template import fill

SHOTS = 3
_WITH_PASSAGES = "{passages}\n\nQuestion: {query}"


def few_shot(task: Task, *, contexts: bool = True) -> str:
    """The template's text; the same task gives the same text. `contexts`: questions stand on those they bring."""
    asked = [(example.asked if contexts else example.query, example.answers[0]) for example in shots(task)]
    shown = [{"user": question, "assistant": answer} for question, answer in asked]
    return written(
        {"system": task.instruction, "user_with_passages": _WITH_PASSAGES, "examples": shown},
        f"The form of an answer in words, and {len(shown)} training examples of the task {task.name}.",
    )


def few_shot_with_passages(task: Task, passages: Mapping[str, Sequence[str]]) -> str | None:
    """The same with the `passages`, best first, found for examples by id; None if none of those shown has any."""
    shown = [
        {"user": _asked(example.query, passages[example.id]), "assistant": example.answers[0]}
        for example in shots(task)
        if passages.get(example.id)
    ]
    if not shown:
        return None
    return written(
        {"system": task.instruction, "user_with_passages": _WITH_PASSAGES, "order": "best-last", "examples": shown},
        f"{len(shown)} training examples of the task {task.name}, each with passages as retrieved for it.",
    )


def shots(task: Task) -> list[Example]:
    """Short answerable ones from all over the file and, first, one without an answer if there is any."""
    unanswerable = [example for example in task.train if example.slice == UNANSWERABLE][:1]
    pool = sorted(drawn(task, 4 * SHOTS), key=lambda example: len(example.asked) + len(example.answers[0]))
    answerable = _different_answers(pool)[: SHOTS - len(unanswerable)]
    return [*unanswerable, *answerable]


def _different_answers(examples: Sequence[Example]) -> list[Example]:
    """The first of each answer before the others: as many labels as can be should be seen."""
    first = {example.answers[0]: example for example in reversed(examples)}
    return sorted(examples, key=lambda example: first[example.answers[0]] is not example)


def _asked(query: str, passages: Sequence[str]) -> str:
    """Numbered from the best, as passages are in a prompt, and the best last, next to the question."""
    shown = [f"[{number}] {text}" for number, text in reversed(list(enumerate(passages, start=1)))]
    return fill(_WITH_PASSAGES, {"passages": "\n\n".join(shown), "query": query})
