"""Feedback as examples: what people asked, and the answer they gave or found good, to evaluate or to train on."""

from collections.abc import Iterable
from dataclasses import dataclass

from ragtune.examples.example import UNANSWERABLE, Example
from ragtune.feedback import Feedback


@dataclass(frozen=True)
class Exported:
    """The examples, in the order of the feedback, and how many opinions make none."""

    examples: list[Example]
    left_out: int

    @property
    def lines(self) -> str:
        """A line of JSON each, as `read_examples` takes them."""
        return "".join(f"{example.model_dump_json(exclude_defaults=True)}\n" for example in self.examples)


def exported(feedback: Iterable[Feedback], min_score: float | None = None) -> Exported:
    """An example of every opinion that says what would be right, and has at least this score."""
    examples: list[Example] = []
    left_out = 0
    for each in feedback:
        example = None if min_score is not None and each.score < min_score else _example(each)
        if example is None:
            left_out += 1
        else:
            examples.append(example)
    return Exported(examples, left_out)


def _example(feedback: Feedback) -> Example | None:
    """With the better answer if there is one, else the one that was given, if it was found good; None where neither
    is, or the question is blank."""
    exchange = feedback.exchange
    right = feedback.answer or (exchange.text if feedback.score > 0 else "")
    if not right.strip() or not exchange.query.strip():
        return None
    abstained = exchange.abstained and feedback.answer is None
    return Example(
        id=exchange.id,
        query=exchange.query,
        answers=(right,),
        history=exchange.history,
        slice=UNANSWERABLE if abstained else "",
    )
