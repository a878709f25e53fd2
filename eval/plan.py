"""What is asked, and in which order: arms x tasks x examples x seeds. Pure, once the examples are read."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from eval.arm import GIVEN
from eval.fit import check_arm, check_examples
from eval.runfile import Place
from eval.suite import Arm, Gate, Suite, Task
from eval.task import first_of_each_slice
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import UNANSWERABLE, Example



@dataclass(frozen=True)
class Question:
    """One thing to ask, in the `repeat`-th round, with the seed of that round.

    `refusals` are the task's own wordings of having no answer, empty where none is expected; `labels` the distinct
    first answers of its examples, sorted.
    """

    arm: Arm
    task: Task
    example: Example
    repeat: int = 0
    seed: int = 0
    refusals: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def key(self) -> Place:
        """What tells it from all others of the run."""
        return self.arm.name, self.task.name, self.example.id, self.repeat

    @property
    def cluster(self) -> str:
        """What the example shares with others that are not independent of it: its first gold document, else the text
        it stands on, else itself."""
        example = self.example
        if example.gold_documents:
            return example.gold_documents[0]
        if example.context:
            return f"context {hashlib.sha256(example.context.encode()).hexdigest()[:12]}"
        return example.id


@dataclass(frozen=True)
class Plan:
    """The questions of each arm, in the order asked; `left_out` counts by arm the examples that it cannot be asked,
    as they name nothing that holds their answer; `examples` are by task."""

    suite: Suite
    questions: tuple[tuple[Question, ...], ...]
    left_out: Mapping[str, int]
    examples: Mapping[str, Sequence[Example]]

    @property
    def all(self) -> list[Question]:
        """The questions of all arms."""
        return list(chain.from_iterable(self.questions))


def plan(suite: Suite) -> Plan:
    """Everything to ask. Raises RefusedArtifact if examples cannot be read, or do not fit what is asked of them."""
    examples = {task.name: task.read() for task in suite.tasks}
    for task in suite.tasks:
        check_examples(task, examples[task.name])
    for gate in suite.gates:
        _check_slice(gate, examples[gate.task])
    questions, left_out = [], {}
    for arm in suite.arms:
        asked = _in_turn([_of_task(arm, task, examples[task.name]) for task in suite.asked(arm)])
        fitting = [question for question in asked if arm.context not in GIVEN or _has_gold(question.example)]
        if not fitting:
            raise RefusedArtifact(
                f"arm {arm.name!r} has nothing to be asked: context = {arm.context!r} needs examples with "
                "gold_documents or a context"
            )
        if len(fitting) < len(asked):
            left_out[arm.name] = len(asked) - len(fitting)
        questions.append(tuple(_repeated(fitting, suite.seeds)))
    return Plan(suite, tuple(questions), left_out, examples)


def _of_task(arm: Arm, task: Task, examples: Sequence[Example]) -> list[Question]:
    check_arm(arm, task)
    refusals = _distinct(text for example in examples if example.slice == UNANSWERABLE for text in example.answers)
    firsts = (example.answers[0] for example in examples if example.answers and example.slice != UNANSWERABLE)
    labels = tuple(sorted(_distinct(firsts)))
    return [
        Question(arm, task, example, refusals=refusals, labels=labels)
        for example in first_of_each_slice(examples, arm.limits.get(task.name))
    ]


def _repeated(questions: Sequence[Question], seeds: Sequence[int]) -> Iterable[Question]:
    for repeat, seed in enumerate(seeds):
        for asked in questions:
            yield Question(asked.arm, asked.task, asked.example, repeat, seed, asked.refusals, asked.labels)


def _has_gold(example: Example) -> bool:
    return bool(example.context or example.gold_documents)


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _in_turn(tasks: Sequence[Sequence[Question]]) -> list[Question]:
    """One of each task in turn, so that the first few questions of an arm are of all its tasks."""
    rounds = chain.from_iterable(zip_longest(*tasks))
    return [asked for asked in rounds if asked is not None]


def _check_slice(gate: Gate, examples: Sequence[Example]) -> None:
    slices = {example.slice for example in examples}
    if gate.slice is not None and gate.slice not in slices:
        raise RefusedArtifact(f"a gate: {UnknownName.among('slice', gate.slice, slices - {''}).message}")
