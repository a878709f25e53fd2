"""Quality against cost: a point an arm, and the front of those that nothing beats at both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.costs import Cost
from eval.figures import figure, metric_words
from eval.html.dots import Standing, scale_of, standing
from eval.html.labels import Box, Label, placed
from eval.html.scale import Scale, fitting
from eval.metrics import METRICS
from eval.pareto import Point, front
from eval.report import ArmResult, Report
from eval.statistics import Interval
from eval.suite import Task

_SIZES = ((356, 330), (900, 440))  # pixels: for a phone, and for a desktop or paper
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 12, 14, 44
_LONGEST = 26  # characters of a name beside its point; the table has it whole


@dataclass(frozen=True)
class Mark:
    """A point in pixels, with its interval from `top` to `bottom`."""

    name: str
    standing: Standing
    on_front: bool
    x: float
    y: float
    top: float
    bottom: float
    label: Label | None


@dataclass(frozen=True)
class Drawing:
    """One size of the chart. Ticks are (pixels, label); `steps` the corners of the front."""

    width: int
    height: int
    frame: Box
    marks: tuple[Mark, ...]
    across: tuple[tuple[float, str], ...]
    upward: tuple[tuple[float, str], ...]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scatter:
    """The chart of one task in every size, what its axes are, who is on the front, and who has no known cost."""

    title: str
    quality: str
    better: str
    cost: str
    front: tuple[str, ...]
    left_out: tuple[str, ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class _Axis:
    name: str
    read: Callable[[Cost], float | None]
    write: Callable[[float], str]


@dataclass(frozen=True)
class _Found:
    arm: ArmResult
    standing: Standing
    score: Interval
    cost: float


def _milliseconds(value: float) -> str:
    return f"{value:,.0f}"


_AXES = (
    _Axis("price of 1,000 queries", lambda cost: cost.price, "{:g}".format),
    _Axis(
        "time to the whole answer alone, ms (median)",
        lambda cost: cost.whole_alone.median if cost.whole_alone else None,
        _milliseconds,
    ),
    _Axis(
        "time to the whole answer under load, ms (median)",
        lambda cost: cost.whole_loaded.median if cost.whole_loaded else None,
        _milliseconds,
    ),
    _Axis("prompt tokens", lambda cost: cost.prompt_tokens, _milliseconds),
)


def scatter(report: Report, task: Task) -> Scatter | None:
    """The candidates of the task by the first cost that all of them know, or most; None for fewer than two points."""
    arms = [arm for arm in report.arms if task.name in arm.tasks and arm.tasks[task.name].candidate]
    scored = [arm for arm in arms if task.headline in arm.tasks[task.name].scores]
    axis = max(_AXES, key=lambda axis: sum(axis.read(arm.tasks[task.name].cost) is not None for arm in scored))
    found = [
        _Found(arm, standing(report, task, arm), arm.tasks[task.name].scores[task.headline], cost)
        for arm in scored
        if (cost := axis.read(arm.tasks[task.name].cost)) is not None
    ]
    if len(found) < 2:
        return None
    sign = -1 if METRICS[task.headline].lower_is_better else 1
    best = front([Point(each.arm.name, sign * each.score.mean, (each.cost,)) for each in found])
    known = {each.arm.name for each in found}
    return Scatter(
        title=f"{task.name}: quality against cost",
        quality=metric_words(task.headline),
        better="lower" if METRICS[task.headline].lower_is_better else "higher",
        cost=axis.name,
        front=tuple(each.arm.name for each in sorted(found, key=lambda each: each.cost) if each.arm.name in best),
        left_out=tuple(arm.name for arm in arms if arm.name not in known),
        drawings=tuple(_drawing(task.headline, found, best, axis, *size) for size in _SIZES),
    )


def _drawing(metric: str, found: Sequence[_Found], best: set[str], axis: _Axis, width: int, height: int) -> Drawing:
    frame = Box(_LEFT, _TOP, width - _RIGHT, height - _BOTTOM)
    costs, scores = fitting([each.cost for each in found]), scale_of(metric, [each.score for each in found])
    in_order = sorted(found, key=lambda each: (each.arm.name not in best, -each.score.mean, each.arm.name))
    places = [(each, _across(costs, frame, each.cost), _upward(scores, frame, each.score.mean)) for each in in_order]
    labels = placed([(_short(each.arm.name), x, y) for each, x, y in places], Box(_LEFT, 0, width, frame.bottom))
    marks = tuple(
        Mark(
            name=each.arm.name,
            standing=each.standing,
            on_front=each.arm.name in best,
            x=round(x, 1),
            y=round(y, 1),
            top=round(_upward(scores, frame, each.score.high), 1),
            bottom=round(_upward(scores, frame, each.score.low), 1),
            label=label,
        )
        for (each, x, y), label in zip(places, labels, strict=True)
    )
    ticks = costs.ticks if width > 500 or len(costs.ticks) < 7 else costs.ticks[::2]
    return Drawing(
        width=width,
        height=height,
        frame=frame,
        marks=marks,
        across=tuple((round(_across(costs, frame, tick), 1), axis.write(tick)) for tick in ticks),
        upward=tuple((round(_upward(scores, frame, tick), 1), figure(metric, tick)) for tick in scores.ticks),
        steps=_steps([(mark.x, mark.y) for mark in marks if mark.on_front], frame.right),
    )


def _steps(points: Sequence[tuple[float, float]], end: float) -> tuple[tuple[float, float], ...]:
    """A staircase through the points: what the money up to there buys."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return (*corners, (end, corners[-1][1])) if corners else ()


def _across(scale: Scale, frame: Box, value: float) -> float:
    return frame.left + scale.share(value) * (frame.right - frame.left)


def _upward(scale: Scale, frame: Box, value: float) -> float:
    return frame.bottom - scale.share(value) * (frame.bottom - frame.top)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
