"""Dots with whiskers: one row an arm, places in per cent of the row's width, so that no text shrinks on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.figures import figure, metric_words, range_of
from eval.html.scale import Scale, fitting, linear
from eval.metrics import METRICS
from eval.report import ArmResult, Report
from eval.statistics import Interval
from eval.suite import Task

Standing = Literal["chosen", "leading", "other", "sampled", "control"]


@dataclass(frozen=True)
class Dot:
    """A row. `place`, `low`, `high` in per cent of the width; `tick` is a second mark."""

    name: str
    standing: Standing
    place: float
    low: float
    high: float
    text: str
    aside: str
    tick: float | None = None


@dataclass(frozen=True)
class Dots:
    """A chart: rows, and the ticks of their axis as (place in per cent, label)."""

    title: str
    about: str
    value: str
    rows: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]


def quality_dots(report: Report, task: Task) -> Dots | None:
    """The primary metric of every arm on the task, the best first, controls last; None if nobody has a score."""
    metric = task.headline
    found = [(arm, score) for arm in report.arms if (score := _score(arm, task)) is not None]
    if not found:
        return None
    sign = 1 if METRICS[metric].lower_is_better else -1
    found.sort(key=lambda pair: (pair[0].control, sign * pair[1].mean))
    scale = scale_of(metric, [score for _, score in found])
    return Dots(
        title=f"{task.name}: {metric_words(metric)}",
        about=METRICS[metric].about + ("; lower is better" if METRICS[metric].lower_is_better else ""),
        value="score [95 %]",
        rows=tuple(_dot(arm.name, standing(report, task, arm), metric, score, scale) for arm, score in found),
        ticks=tuple((100 * scale.share(tick), figure(metric, tick)) for tick in scale.ticks),
    )


def ladder_dots(title: str, about: str, metric: str, rungs: Sequence[tuple[str, Interval]]) -> Dots | None:
    """One row a context, in the order given."""
    if not rungs:
        return None
    scale = scale_of(metric, [score for _, score in rungs])
    return Dots(
        title=title,
        about=about,
        value="score [95 %]",
        rows=tuple(_dot(name, "other", metric, score, scale) for name, score in rungs),
        ticks=tuple((100 * scale.share(tick), figure(metric, tick)) for tick in scale.ticks),
    )


def latency_dots(report: Report) -> Dots | None:
    """Of requests alone: the first token, and the whole answer with its 95th percentile, in milliseconds."""
    found = [(arm, arm.cost.first_alone, arm.cost.whole_alone) for arm in report.arms]
    times = [(arm, first, whole) for arm, first, whole in found if first and whole]
    if not times:
        return None
    scale = fitting([first.median for _, first, _ in times] + [whole.p95 for _, _, whole in times])
    rows = [
        Dot(
            name=arm.name,
            standing="control" if arm.control else "other",
            place=100 * scale.share(whole.median),
            low=100 * scale.share(whole.median),
            high=100 * scale.share(whole.p95),
            tick=100 * scale.share(first.median),
            text=f"{whole.median:,.0f}",
            aside=f"p95 {whole.p95:,.0f}, first {first.median:,.0f}",
        )
        for arm, first, whole in times
    ]
    return Dots(
        title="Time to an answer, one request at a time, in ms",
        about="bar: the first token; dot: the whole answer, median; line: to its p95, of few requests the slowest",
        value="median",
        rows=tuple(rows),
        ticks=tuple((100 * scale.share(tick), f"{tick:,.0f}") for tick in scale.ticks),
    )


def standing(report: Report, task: Task, arm: ArmResult) -> Standing:
    """How an arm is marked: chosen by the verdict, level with the best, asked only a part, a control, or none of it."""
    if any(verdict.task == task.name and verdict.chosen == arm.name for verdict in report.verdicts):
        return "chosen"
    result = arm.tasks[task.name]
    if arm.control:
        return "control"
    return "leading" if result.leading else "other" if result.candidate else "sampled"


def scale_of(metric: str, scores: Sequence[Interval]) -> Scale:
    """Points from 0 to 100; for other figures as far as they go."""
    if METRICS[metric].unit == "share":
        return linear(0.0, 1.0)
    return linear(min(score.low for score in scores), max(score.high for score in scores))


def _dot(name: str, mark: Standing, metric: str, score: Interval, scale: Scale) -> Dot:
    return Dot(
        name=name,
        standing=mark,
        place=100 * scale.share(score.mean),
        low=100 * scale.share(score.low),
        high=100 * scale.share(score.high),
        text=figure(metric, score.mean),
        aside=range_of(metric, score),
    )


def _score(arm: ArmResult, task: Task) -> Interval | None:
    return arm.tasks[task.name].scores.get(task.headline) if task.name in arm.tasks else None
