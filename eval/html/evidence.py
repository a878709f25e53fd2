"""A telling example as the page shows it: answers that are alike once, passages that several modes read once."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from eval.figures import NOTHING, figure, metric_words
from eval.metrics import METRICS
from eval.runfile import Shown
from eval.telling import Said, Showcase
from ragtune.terminal import printable

_LONGEST_ANSWER, _LONGEST_PASSAGE = 1200, 900  # characters shown; what is cut off is counted
_MEANT = 2  # characters an accepted answer needs, to be marked in a passage


@dataclass(frozen=True)
class Answered:
    """The modes that answered this, and how right it is: "right", "wrong", "partly", "failed", or "" where that
    cannot be said of its score."""

    arms: tuple[str, ...]
    text: str
    score: str
    mark: str
    missed_gold: bool


@dataclass(frozen=True)
class Read:
    """The modes that were given these passages."""

    arms: tuple[str, ...]
    passages: tuple[tuple[str, Markup], ...]


@dataclass(frozen=True)
class Evidence:
    """One example."""

    task: str
    example: str
    metric: str
    query: str
    wanted: tuple[str, ...]
    answered: tuple[Answered, ...]
    read: tuple[Read, ...]


def evidence(showcase: Showcase) -> Evidence:
    """What is shown of an example, everything in it made printable."""
    return Evidence(
        task=showcase.task,
        example=printable(showcase.example),
        metric=metric_words(showcase.metric),
        query=_cut(showcase.query, _LONGEST_ANSWER),
        wanted=tuple(_cut(answer, _LONGEST_ANSWER) for answer in showcase.answers),
        answered=_answered(showcase),
        read=_read(showcase),
    )


def marked(text: str, wanted: Sequence[str]) -> Markup:
    """The text, escaped, with the accepted answers that stand in it as whole words marked."""
    known = sorted({answer for answer in wanted if len(answer) >= _MEANT}, key=len, reverse=True)
    if not known:
        return escape(text)
    found = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, known))})(?!\w)", re.IGNORECASE)
    pieces = enumerate(found.split(text))  # every second one is an answer
    return Markup("").join(Markup("<mark>{}</mark>").format(piece) if place % 2 else piece for place, piece in pieces)


def _answered(showcase: Showcase) -> tuple[Answered, ...]:
    """The best first; of equals the order of the suite."""
    groups: dict[tuple[str, float | None, str | None, bool], list[str]] = {}
    for said in showcase.said:
        key = (said.text, said.score, said.error, said.gold_retrieved is False)
        groups.setdefault(key, []).append(said.arm)
    sign = -1.0 if METRICS[showcase.metric].lower_is_better else 1.0
    best_first = sorted(
        groups.items(), key=lambda group: -math.inf if group[0][1] is None else sign * group[0][1], reverse=True
    )
    return tuple(
        Answered(
            arms=tuple(arms),
            text=_cut(error or text, _LONGEST_ANSWER) or "(nothing)",
            score=NOTHING if score is None else figure(showcase.metric, score),
            mark=_mark(showcase.metric, score, error),
            missed_gold=missed,
        )
        for (text, score, error, missed), arms in best_first
    )


def _mark(metric: str, score: float | None, error: str | None) -> str:
    """Nothing where the metric knows no right and wrong, as nats do not."""
    if error is not None or score is None:
        return "failed"
    if METRICS[metric].unit != "share" or METRICS[metric].lower_is_better:
        return ""
    return "right" if score == 1 else "wrong" if score == 0 else "partly"


def _read(showcase: Showcase) -> tuple[Read, ...]:
    groups: dict[tuple[tuple[str, str], ...], list[Said]] = {}
    for said in showcase.said:
        if said.passages:
            groups.setdefault(tuple((each.id, each.text) for each in said.passages), []).append(said)
    return tuple(
        Read(
            arms=tuple(said.arm for said in group),
            passages=tuple(_passage(each, showcase.answers) for each in group[0].passages),
        )
        for group in groups.values()
    )


def _passage(shown: Shown, wanted: Sequence[str]) -> tuple[str, Markup]:
    return printable(f"[{shown.number}] {shown.document}"), marked(_cut(shown.text, _LONGEST_PASSAGE), wanted)


def _cut(text: str, longest: int) -> str:
    whole = printable(text).strip()
    if len(whole) <= longest:
        return whole
    return f"{whole[:longest]} … ({len(whole) - longest:,} more characters)"
