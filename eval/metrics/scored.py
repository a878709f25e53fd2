"""The scores of one answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.metrics.labels import label_in
from eval.metrics.metric import Metric
from eval.metrics.retrieval import gold_retrieved
from eval.metrics.table import METRICS
from eval.observed import Observed
from ragtune.errors import UnknownName
from ragtune.examples import UNANSWERABLE

ABSTENTION = "abstention"


@dataclass(frozen=True)
class Scored:
    """What the metrics say of one answer; a metric that cannot be had of it is not in `scores`.

    `unparsable`: the text holds no number, JSON or label where a metric reads one. `predicted` is the label read, ""
    if it is none of the task's, None where none is asked for.
    """

    scores: dict[str, float]
    unparsable: bool
    predicted: str | None
    gold_retrieved: bool | None


def score(observed: Observed, metrics: Sequence[str]) -> Scored:
    """The answer by these metrics, by their names; raises UnknownName.

    An unanswerable example is scored by abstention alone; the others by abstention, too, where the task has such
    examples, for there it would be wrong.
    """
    unanswerable = observed.example.slice == UNANSWERABLE
    asked = [] if unanswerable else [_known(name) for name in metrics]
    abstained = [METRICS[ABSTENTION]] if unanswerable or observed.refusals else []
    found = {metric.name: metric.score(observed) for metric in [*abstained, *asked]}
    return Scored(
        scores={name: value for name, value in found.items() if value is not None},
        unparsable=any(not metric.reads(observed) for metric in asked),
        predicted=_predicted(observed, asked),
        gold_retrieved=gold_retrieved(observed),
    )


def _predicted(observed: Observed, metrics: Sequence[Metric]) -> str | None:
    reads_labels = any(metric.needs == "labels" for metric in metrics)
    return label_in(observed.text, observed.labels) if reads_labels else None


def _known(name: str) -> Metric:
    if name not in METRICS:
        raise UnknownName.among("metric", name, METRICS)
    return METRICS[name]
