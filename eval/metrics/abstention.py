"""Having no answer: whether a text says so, and what that does to a whole run.

`coverage` and `wrong_when_answered` are the two axes of selective prediction (El-Yaniv and Wiener 2010: coverage and
selective risk): an arm may buy fewer wrong answers with fewer answers, so neither is read without the other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eval.metrics.words import containment
from eval.observed import Observed
from ragtune.examples import UNANSWERABLE

if TYPE_CHECKING:  # a run file holds a suite, and a suite names metrics
    from eval.runfile import Item

REFUSALS = (
    "not in the documents",
    "not in the passages",
    "I do not know",
    "I don't know",
    "is unknown",
    "not mentioned",
    "not specified",
    "not stated",
    "not provided",
    "no information",
    "not enough information",
    "does not mention",
    "do not mention",
    "does not say",
    "do not say",
    "does not state",
    "does not specify",
    "does not provide",
    "do not answer",
    "does not answer",
    "cannot be determined",
    "cannot answer",
    "can't answer",
    "unanswerable",
)


def abstention(text: str, wordings: Sequence[str]) -> float:
    """1 if the text says that it has no answer: in one of these `wordings`, or in a common one (REFUSALS)."""
    return containment(text, [*wordings, *REFUSALS])


def abstains(observed: Observed) -> bool:
    """Whether the answer says that there is none, in one of the task's wordings or a common one.

    The wording of an accepted answer does not count, unless the right answer is to have none.
    """
    wordings = (*observed.refusals, *REFUSALS)
    if observed.example.slice != UNANSWERABLE:
        accepted = observed.example.answers
        wordings = tuple(one for one in wordings if not any(containment(answer, [one]) for answer in accepted))
    return containment(observed.text, wordings) == 1


def coverage(items: Sequence["Item"]) -> float | None:
    """The share of the items that were answered, rightly or wrongly; None if abstention was scored on none."""
    scored = [item.scores["abstention"] for item in items if "abstention" in item.scores]
    return 1 - sum(scored) / len(scored) if scored else None


def wrong_when_answered(items: Sequence["Item"], metric: str) -> float | None:
    """How wrong the answers are that were given: the mean of 1 - `metric` over the items that do not abstain.

    Answering an unanswerable question is wholly wrong. None if nothing was answered, or nothing scored.
    """
    losses = [loss for item in items if (loss := _loss(item, metric)) is not None]
    return sum(losses) / len(losses) if losses else None


def _loss(item: "Item", metric: str) -> float | None:
    if item.scores.get("abstention") != 0:
        return None
    if item.slice == UNANSWERABLE:
        return 1.0
    return 1 - item.scores[metric] if metric in item.scores else None
