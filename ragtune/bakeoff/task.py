"""A task of a bake-off: what is trained on, what is held out, and what its answers look like, which decides how they
are scored.

Examples say themselves which task they are of. Those that do not belong to the pair of files they stand in: the i-th
--train with the i-th --heldout.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragtune.bakeoff.task_names import pair_names, slug
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import UNANSWERABLE, Example, read_examples

Kind = Literal["json", "label", "text"]
METRICS: Mapping[Kind, tuple[str, ...]] = {
    "json": ("field_f1", "valid_json"),
    "label": ("label_accuracy", "macro_f1"),
    "text": ("token_f1", "containment", "exact_match"),
}
LEAST = 8  # training examples: with fewer nothing is learnt
_DEFAULT = "default"  # the task of an example that names none
_LABELS, _LABEL_WORDS = 200, 6  # a label is one of few, and short
_LISTED = 24  # labels that an instruction names; more would be most of the prompt
_CHARACTERS = 1.6  # a token, at least: of numbers, names and JSON most are short
_USUAL = 2.5  # on average
_ROOM = 32  # tokens, at least: who was not trained to be brief needs some words before the answer


@dataclass(frozen=True)
class Task:
    """One task. `metrics` are scored, the first is the one that decides."""

    name: str
    train: tuple[Example, ...]
    heldout: tuple[Example, ...]
    metrics: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """What its answers look like."""
        return kind_of(self.train)

    @property
    def refuses(self) -> str:
        """How it says that there is no answer; empty where every question has one."""
        return next((e.answers[0] for e in self.train if e.slice == UNANSWERABLE), "")

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers of a task of labels, sorted."""
        return tuple(sorted({e.answers[0] for e in self.train})) if self.kind == "label" else ()

    @property
    def listed(self) -> bool:
        """Whether there are few enough labels to name them all in a prompt."""
        return 0 < len(self.labels) <= _LISTED

    @property
    def names_documents(self) -> bool:
        """Whether held-out examples say which documents hold the answer, or bring it."""
        return any(example.gold_documents or example.context for example in self.heldout)

    @property
    def max_tokens(self) -> int:
        """Room for the longest training answer and for some words around a short one, in steps of 8."""
        longest = max(len(answer) for example in self.train for answer in example.answers)
        return min(512, max(_ROOM, 8 * math.ceil(longest / _CHARACTERS / 8)))

    @property
    def answer_tokens(self) -> float:
        """The length of a training answer, about: what is learned from them is as long."""
        answers = [example.answers[0] for example in self.train if example.answers]
        return sum(map(len, answers)) / max(1, len(answers)) / _USUAL

    @property
    def instruction(self) -> str:
        """What is asked of the form of an answer: the control of format, and where soft prompts start."""
        if self.kind == "json":
            return f"Reply with one JSON object with the keys {', '.join(self._keys)}, and nothing else."
        if self.kind == "label" and not self.listed:
            return "Reply with the label alone, and nothing else."
        if self.kind == "label":
            return f"Reply with one of these, and nothing else: {', '.join(self.labels)}."
        brief = "Answer in as few words as possible."
        return f"{brief} If that cannot be known, answer: {self.refuses}" if self.refuses else brief

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for e in self.train for key in _object(e.answers[0]) or ()))


def read_tasks(
    train: Sequence[Path],
    heldout: Sequence[Path],
    metrics: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Task, ...]:
    """Every task with both parts, in the order of the held-out files; `metrics` by task, where they were asked for.

    Raises RefusedArtifact for a file that cannot be read or is empty, for a task without one of its parts, where it
    cannot be told which files belong together, and for two tasks that would have one name; UnknownName for a task that
    `metrics` names and nobody has. The metrics themselves are the evaluator's to judge.
    """
    paired, metrics = pair_names(train, heldout), metrics or {}
    trained, held = (_by_task(files, paired) for files in (train, heldout))
    for name in metrics:
        if name not in held:
            raise UnknownName.among("task", name, held)
    tasks = []
    for name, examples in held.items():
        if name not in trained:
            raise RefusedArtifact(f"no --train file has examples of task {name!r}; there are: {', '.join(trained)}")
        if len(trained[name]) < LEAST:
            raise RefusedArtifact(f"task {name!r} has {len(trained[name])} training examples; it takes {LEAST} or more")
        chosen = tuple(metrics.get(name, ())) or METRICS[kind_of(trained[name])]
        tasks.append(Task(name, tuple(trained[name]), tuple(examples), chosen))
    if left := sorted(trained.keys() - held.keys()):
        raise RefusedArtifact(f"no --heldout file has examples of task {left[0]!r}: nothing could be measured on it")
    return tuple(tasks)


def kind_of(examples: Sequence[Example]) -> Kind:
    """JSON objects all; or different short answers, few for so many examples; or any text."""
    answers = [example.answers[0] for example in examples if example.slice != UNANSWERABLE]
    if answers and all(_object(answer) is not None for answer in answers):
        return "json"
    short = all(len(answer.split()) <= _LABEL_WORDS for answer in answers)
    return "label" if short and len(set(answers)) <= min(_LABELS, len(answers) // 4) else "text"


def drawn(task: Task, count: int) -> list[Example]:
    """Answerable training examples, evenly over the file: a sample that is the same every time."""
    answerable = [example for example in task.train if example.slice != UNANSWERABLE]
    every = max(1, len(answerable) // count)
    return answerable[::every][:count]


def _by_task(files: Sequence[Path], paired: Mapping[Path, str]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    said: dict[str, str] = {}
    for file in files:
        for example in read_examples(file):
            name = _named(example, file, said) if example.task != _DEFAULT else paired.get(file, "")
            if not name:
                raise RefusedArtifact(
                    f"{file}: example {example.id!r} names no task; name it, or give as many --heldout as --train files"
                )
            found.setdefault(name, []).append(example.model_copy(update={"task": name}))
    return {name: _distinct(examples) for name, examples in found.items()}


def _named(example: Example, file: Path, said: dict[str, str]) -> str:
    """The task that an example says it is of; `said` are those seen so far, as they were written."""
    name = slug(example.task)
    if not name or said.setdefault(name, example.task) != example.task:
        other = f", as is {said[name]!r}" if name else ", as file names are made of it"
        raise RefusedArtifact(f"{file}: the task {example.task!r} would be called {name!r}{other}; rename it")
    return name


def _distinct(examples: list[Example]) -> list[Example]:
    """Ids made different where two files have the same ones."""
    seen: set[str] = set()
    kept = []
    for example in examples:
        name, number = example.id, 2
        while name in seen:
            name, number = f"{example.id}~{number}", number + 1
        seen.add(name)
        kept.append(example.model_copy(update={"id": name}) if name != example.id else example)
    return kept


def _object(answer: str) -> dict[str, object] | None:
    try:
        value = json.loads(answer)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
