"""What is asked, and in which order: arms x tasks x examples x seeds. Pure, once the examples are read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from eval.arm import GIVEN
from eval.clusters import clusters
from eval.fit import check_arm, check_examples
from eval.needs import needs
from eval.runfile import Place
from eval.suite import Arm, Gate, Suite, Task
from eval.task import first_of_each_slice
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import UNANSWERABLE, Example


@dataclass(frozen=True)
class Question:
    """One thing to ask, in the `repeat`-th round, with the seed of that round.

    `refusals` are the task's own wordings of having no answer, empty where none is expected; `labels` the distinct
    answers of all its examples, sorted; `cluster` what the example shares with others that are not independent of it.
    """

    arm: Arm
    task: Task
    example: Example
    repeat: int = 0
    seed: int = 0
    refusals: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    cluster: str = ""

    @property
    def key(self) -> Place:
        """What tells it from all others of the run."""
        return self.arm.name, self.task.name, self.example.id, self.repeat


@dataclass(frozen=True)
class Plan:
    """The questions of each arm, in the order asked; `left_out` counts by arm the examples that it cannot be asked,
    as they name nothing that holds their answer; `examples` are by task, and so are the `labels` of tasks that have
    some."""

    suite: Suite
    questions: tuple[tuple[Question, ...], ...]
    left_out: Mapping[str, int]
    examples: Mapping[str, Sequence[Example]]
    labels: Mapping[str, Sequence[str]]

    @property
    def all(self) -> list[Question]:
        """The questions of all arms."""
        return list(chain.from_iterable(self.questions))


def plan(suite: Suite) -> Plan:
    """Everything to ask. Raises RefusedArtifact if examples cannot be read, or do not fit what is asked of them."""
    whole = {task.name: task.read() for task in suite.tasks}
    examples = {task.name: first_of_each_slice(whole[task.name], task.limit) for task in suite.tasks}
    for task in suite.tasks:
        check_examples(task, examples[task.name])
    for gate in suite.gates:
        _check_slice(gate, examples[gate.task])
    questions, left_out = [], {}
    for arm in suite.arms:
        asked = _in_turn([_of_task(arm, task, examples[task.name], whole[task.name]) for task in suite.asked(arm)])
        fitting = [question for question in asked if arm.context not in GIVEN or _has_gold(question.example)]
        if not fitting:
            raise RefusedArtifact(
                f"arm {arm.name!r} has nothing to be asked: context = {arm.context!r} needs examples with "
                "gold_documents or a context"
            )
        if len(fitting) < len(asked):
            left_out[arm.name] = len(asked) - len(fitting)
        questions.append(tuple(_repeated(fitting, suite.seeds)))
    labelled = [task for task in suite.tasks if "labels" in needs(task.metrics)]
    labels = {task.name: _labels(whole[task.name]) for task in labelled}
    return Plan(suite, tuple(questions), left_out, examples, labels)


def _of_task(arm: Arm, task: Task, examples: Sequence[Example], whole: Sequence[Example]) -> list[Question]:
    """`examples` are those within the limit of the `whole` task."""
    check_arm(arm, task)
    refusals = _distinct(text for example in whole if example.slice == UNANSWERABLE for text in example.answers)
    labels, together = _labels(whole), clusters(whole)
    return [
        Question(arm, task, example, refusals=refusals, labels=labels, cluster=together[example.id])
        for example in first_of_each_slice(examples, arm.limits.get(task.name))
    ]


def _repeated(questions: Sequence[Question], seeds: Sequence[int]) -> Iterable[Question]:
    for repeat, seed in enumerate(seeds):
        for asked in questions:
            yield replace(asked, repeat=repeat, seed=seed)


def _labels(examples: Sequence[Example]) -> tuple[str, ...]:
    answers = (answer for example in examples if example.slice != UNANSWERABLE for answer in example.answers)
    return tuple(sorted(set(answers)))


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
