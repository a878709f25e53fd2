"""From a run to a report: a pure function of the run file. The same run always gives the same report."""

import statistics
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from eval.runfile import Header, Item
from eval.statistics import Interval, interval, paired
from eval.suite import Comparison, Suite, Task
from ragtune.mode import Mode


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class TaskResult(_Frozen):
    """One arm on one task. `slices` are scored apart from the main items; `gold_found` is retrieval's own success."""

    scores: dict[str, Interval]
    slices: dict[str, dict[str, Interval]]
    gold_found: float | None
    answered: int
    failed: int


class ArmResult(_Frozen):
    """One arm: quality by task, and what it costs. Times in milliseconds, of requests that ran alone."""

    mode: str
    tasks: dict[str, TaskResult]
    first_token_ms: float | None
    first_token_p95_ms: float | None
    prompt_tokens: float | None
    cached_tokens: float | None
    training_seconds: float
    retries: int


class Difference(_Frozen):
    """A comparison that was asked for, on the items both arms answered."""

    asked: Comparison
    difference: Interval | None

    @property
    def points(self) -> float:
        """The difference in points (hundredths)."""
        return 100 * self.difference.mean if self.difference else 0.0

    @property
    def reached(self) -> bool:
        """Whether even the lower end of the interval exceeds the margin."""
        return self.difference is not None and 100 * self.difference.low > self.asked.margin

    @property
    def verdict(self) -> str:
        """In words: reached, above zero only, not told apart, or worse."""
        if self.difference is None:
            return "no item in common"
        if self.reached:
            return "reached"
        if self.difference.low > 0:
            return "better, but by less" if self.points < self.asked.margin else "better; the margin is uncertain"
        return "worse" if self.difference.high < 0 else "tie"


class Showcase(_Frozen):
    """One example with every arm's answer."""

    task: str
    query: str
    answers: tuple[str, ...]
    said: dict[str, str]


class Report(_Frozen):
    """Everything shown."""

    name: str
    base: str
    device: str
    started: str
    tasks: tuple[Task, ...]
    arms: list[ArmResult]
    differences: list[Difference]
    errors: dict[str, int]


def report(header: Header, items: Sequence[Item]) -> Report:
    """The report of a run."""
    suite = header.suite
    note = f" ({header.note})" if header.note else ""
    errors: dict[str, int] = {}
    for item in items:
        if item.error:
            errors[item.error] = errors.get(item.error, 0) + 1
    return Report(
        name=suite.name,
        base=header.base + note,
        device=header.device,
        started=header.started,
        tasks=suite.tasks,
        arms=[_arm(header, arm.mode, [i for i in items if i.arm == arm.mode]) for arm in suite.arms],
        differences=[_difference(comparison, items) for comparison in suite.comparisons],
        errors=errors,
    )


def telling(suite: Suite, items: Sequence[Item], count: int, modes: Sequence[str] | None = None) -> list[Showcase]:
    """The `count` examples on which the arms differ most, tasks in turn, each with every arm's answer."""
    chosen = [arm.mode for arm in suite.arms if modes is None or arm.mode in modes]
    ranked: list[list[Showcase]] = []
    for task in suite.tasks:
        metric = task.metrics[0]
        by_example: dict[str, list[Item]] = {}
        for item in items:
            if item.task == task.name and item.answer and not item.slice and item.arm in chosen:
                by_example.setdefault(item.example, []).append(item)
        full = [group for group in by_example.values() if len(group) == len(chosen)]
        full.sort(key=lambda group: -statistics.pvariance([item.scores[metric] for item in group]))
        ranked.append([_showcase(group) for group in full])
    return [group[i] for i in range(count) for group in ranked if i < len(group)][:count]


def _showcase(group: Sequence[Item]) -> Showcase:
    first = group[0]
    said = {item.arm: " ".join(item.answer.text.split()) for item in group if item.answer}
    return Showcase(task=first.task, query=first.query, answers=first.answers, said=said)


def _arm(header: Header, mode: str, items: Sequence[Item]) -> ArmResult:
    answers = [item.answer for item in items if item.answer]
    alone = sorted(item.answer.timings.first_token_ms for item in items if item.answer and item.alone)
    trained = [header.training_seconds.get(ref.name, 0.0) for ref in Mode.parse(mode).adapters]
    return ArmResult(
        mode=mode,
        tasks={
            task.name: _task(task, [i for i in items if i.task == task.name])
            for task in header.suite.tasks
            if any(i.task == task.name for i in items)
        },
        first_token_ms=statistics.median(alone) if alone else None,
        first_token_p95_ms=alone[int(0.95 * (len(alone) - 1))] if alone else None,
        prompt_tokens=_mean(answer.usage.prompt_tokens for answer in answers),
        cached_tokens=_mean(answer.usage.cached_tokens for answer in answers),
        training_seconds=sum(trained),
        retries=sum(item.retries for item in items),
    )


def _task(task: Task, items: Sequence[Item]) -> TaskResult:
    main = [item for item in items if not item.slice]
    names = sorted({item.slice for item in items if item.slice})
    found = [_gold_found(item) for item in main if item.answer and item.answer.passages and item.gold_documents]
    return TaskResult(
        scores=_scores(task, main),
        slices={name: _scores(task, [item for item in items if item.slice == name]) for name in names},
        gold_found=sum(found) / len(found) if found else None,
        answered=sum(item.answer is not None for item in items),
        failed=sum(item.error is not None for item in items),
    )


def _scores(task: Task, items: Sequence[Item]) -> dict[str, Interval]:
    made = {metric: interval([i.scores[metric] for i in items if i.scores]) for metric in task.metrics}
    return {metric: found for metric, found in made.items() if found is not None}


def _gold_found(item: Item) -> bool:
    assert item.answer is not None
    return any(passage.document in item.gold_documents for passage in item.answer.passages)


def _difference(asked: Comparison, items: Sequence[Item]) -> Difference:
    arm, over = (
        {
            i.example: i.scores[asked.metric]
            for i in items
            if i.arm == mode and i.task == asked.task and not i.slice and asked.metric in i.scores
        }
        for mode in (asked.arm, asked.over)
    )
    return Difference(asked=asked, difference=paired(arm, over))


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None
