"""Controls: whose error it is, and how much of a gain is only the format.

Arms of one mode that differ in their context are a ladder. An example that is answered rightly from the gold passages
and wrongly from what was retrieved is the retriever's error; one that is answered wrongly from both is the reader's.
An arm with an instruction beside the same mode without one shows what telling the format gains; what a tuned arm has
beyond that is not format. All comparisons of a task's controls are one family (Holm), apart from that of its verdict.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import BaseModel, ConfigDict

from eval.metrics import METRICS
from eval.sample import Sample, Samples, gap
from eval.statistics import Compared, Interval, in_family
from eval.suite import Arm, Context, Suite, Task
from ragtune.mode import Mode

RIGHT = 0.5  # an answer is called right from this score on
ORDER: tuple[Context, ...] = get_args(Context)
_STEPS: tuple[tuple[Context, Context], ...] = (
    ("retrieved", "none"),
    ("gold", "retrieved"),
    ("gold+distractors", "gold"),
    ("wrong", "none"),
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rung(_Frozen):
    """What the mode scores with one context."""

    context: Context
    arm: str
    score: Interval | None


class Errors(_Frozen):
    """Examples answered with both retrieved and gold passages, by who lost them; shares with their intervals.

    `not_found`: of the retriever's errors, those without the gold document among the passages; in the others it was
    there but not with the passage needed, or among too many. None where no example names its document.
    """

    n: int
    right: Interval
    retriever: Interval
    reader: Interval
    not_found: int | None


class Step(_Frozen):
    """From one context to another: `first` minus `second`."""

    first: Context
    second: Context
    compared: Compared | None


class Ladder(_Frozen):
    """One mode on one task, by context."""

    task: str
    mode: str
    metric: str
    rungs: tuple[Rung, ...]
    errors: Errors | None
    steps: tuple[Step, ...]


class Format(_Frozen):
    """How much of what an arm gains over its untuned mode the instruction alone gains, too: both over `plain`.

    `beyond` is the arm minus the instructed one: what is left when both know the format.
    """

    task: str
    metric: str
    arm: str
    plain: str
    instructed: str
    gain: Compared | None
    by_format: Compared | None
    beyond: Compared | None


class Controls(_Frozen):
    """What the controls of a suite show."""

    ladders: tuple[Ladder, ...]
    formats: tuple[Format, ...]


def controls(suite: Suite, samples: Samples) -> Controls:
    """All ladders and controls of format, by task in the suite's order; comparisons of a task told as one family."""
    steep, shaped = ladders(suite, samples), formats(suite, samples)
    by_task = [
        _told([each for each in steep if each.task == task.name], [each for each in shaped if each.task == task.name])
        for task in suite.tasks
    ]
    return Controls(
        ladders=tuple(each for found, _ in by_task for each in found),
        formats=tuple(each for _, found in by_task for each in found),
    )


def _told(steep: Sequence[Ladder], shaped: Sequence[Format]) -> tuple[list[Ladder], list[Format]]:
    """The same, every comparison told as one of all of them."""
    bare = [step.compared for ladder in steep for step in ladder.steps]
    bare += [compared for each in shaped for compared in (each.gain, each.by_format, each.beyond)]
    family = iter(in_family([each for each in bare if each]))
    told = iter([next(family) if each else None for each in bare])
    return (
        [
            ladder.model_copy(
                update={"steps": tuple(step.model_copy(update={"compared": next(told)}) for step in ladder.steps)}
            )
            for ladder in steep
        ],
        [
            each.model_copy(update={"gain": next(told), "by_format": next(told), "beyond": next(told)})
            for each in shaped
        ],
    )


def ladders(suite: Suite, samples: Samples) -> tuple[Ladder, ...]:
    """A ladder for every mode that was asked a task with more than one context, each step told alone."""
    found = []
    for task in suite.tasks:
        groups: dict[tuple[str | None, ...], list[Arm]] = {}
        for arm in suite.arms:
            if task in suite.asked(arm) and arm.top_k is None:  # a ladder is of the mode as it is set
                groups.setdefault((arm.mode, arm.endpoint, arm.model, arm.instruction), []).append(arm)
        found += [_ladder(task, arms, samples) for arms in groups.values() if len({arm.context for arm in arms}) > 1]
    return tuple(found)


def formats(suite: Suite, samples: Samples) -> tuple[Format, ...]:
    """For every arm with an adapter whose untuned mode was asked plainly and with an instruction, retrieving as much;
    each comparison told alone."""
    found = []
    for task in suite.tasks:
        arms = [arm for arm in suite.arms if task in suite.asked(arm) and arm.mode and arm.context == "retrieved"]
        for tuned in (arm for arm in arms if Mode.parse(arm.asked_mode).adapters and not arm.instruction):
            untuned = _untuned(tuned.asked_mode)
            alike = [arm for arm in arms if str(Mode.parse(arm.asked_mode)) == untuned and arm.top_k == tuned.top_k]
            plain = next((arm for arm in alike if not arm.instruction), None)
            instructed = next((arm for arm in alike if arm.instruction), None)
            if plain and instructed:
                found.append(_format(task, tuned, plain, instructed, samples))
    return tuple(found)


def _ladder(task: Task, arms: Sequence[Arm], samples: Samples) -> Ladder:
    by_context = {arm.context: arm for arm in arms}
    parts = {context: samples.part(arm.name, task.name) for context, arm in by_context.items()}
    metric = task.headline
    return Ladder(
        task=task.name,
        mode=arms[0].mode or arms[0].name,
        metric=metric,
        rungs=tuple(
            Rung(context=context, arm=by_context[context].name, score=parts[context].score(metric))
            for context in ORDER
            if context in parts
        ),
        errors=_errors(parts["retrieved"], parts["gold"], metric) if {"retrieved", "gold"} <= parts.keys() else None,
        steps=_steps(parts, metric),
    )


def _steps(parts: Mapping[Context, Sample], metric: str) -> tuple[Step, ...]:
    """The steps that were asked both ends of."""
    known = [(first, second) for first, second in _STEPS if first in parts and second in parts]
    return tuple(
        Step(first=first, second=second, compared=gap(parts[first], parts[second], metric)) for first, second in known
    )


def _errors(retrieved: Sample, gold: Sample, metric: str) -> Errors | None:
    """None for a metric that has no right and wrong, or without examples that were answered with both."""
    if METRICS[metric].unit != "share":
        return None
    found, ideal = retrieved.values(metric), gold.values(metric)
    shared = [example for example in found if example in ideal]
    right = {example: float(found[example] >= RIGHT) for example in shared}
    retriever = {example: float(found[example] < RIGHT <= ideal[example]) for example in shared}
    reader = {example: float(found[example] < RIGHT and ideal[example] < RIGHT) for example in shared}
    shares = retrieved.mean(right), retrieved.mean(retriever), retrieved.mean(reader)
    if shares[0] is None or shares[1] is None or shares[2] is None:
        return None
    return Errors(
        n=len(shared),
        right=shares[0],
        retriever=shares[1],
        reader=shares[2],
        not_found=_not_found(retrieved, {example for example in shared if retriever[example]}),
    )


def _not_found(retrieved: Sample, lost: set[str]) -> int | None:
    told = {item.example: item.gold_retrieved for item in retrieved.items if item.gold_retrieved is not None}
    return sum(not told[example] for example in lost if example in told) if told else None


def _format(task: Task, tuned: Arm, plain: Arm, instructed: Arm, samples: Samples) -> Format:
    metric = task.headline
    arm, over, told = (samples.part(each.name, task.name) for each in (tuned, plain, instructed))
    return Format(
        task=task.name,
        metric=metric,
        arm=tuned.name,
        plain=plain.name,
        instructed=instructed.name,
        gain=gap(arm, over, metric),
        by_format=gap(told, over, metric),
        beyond=gap(arm, told, metric),
    )


def _untuned(mode: str) -> str:
    """The mode without its adapters."""
    parsed = Mode.parse(mode)
    return str(Mode(adapters=(), template=parsed.template, rag=parsed.rag, index=parsed.index))
