"""Passages that the evaluator brings itself, as rungs of a ladder of controls between no context and retrieved context.

gold               the text that an example stands on, or else passages of its gold documents: those that hold an
                   accepted answer first, and of them those nearest the question
gold+distractors   these, and passages of other documents that were retrieved for the question, in a seeded order
wrong              the others alone

A distractor holds none of the accepted answers, so that it cannot be right by chance.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from eval.asking import Outcome
from eval.client import ANY_SCORE, Service
from eval.plan import Plan, Question
from eval.runfile import Item
from eval.wording import holds
from ragtune.examples import Example
from ragtune.wire import GivenPassage, Passage

GOLD = 2
"""Passages of the gold documents, at most."""
DISTRACTORS = 2
"""Passages of other documents, at most."""
_LOOKED_AT = 10  # passages among which those with the answer, and distractors, are found


@dataclass(frozen=True)
class Given:
    """Passages to give, or the reason why there are none."""

    passages: tuple[GivenPassage, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Found:
    gold: Given
    others: Given


@dataclass
class Contexts:
    """Searches once for each example, however many arms and repeats ask for it."""

    service: Service
    _found: dict[tuple[str, str, str], "asyncio.Task[_Found]"] = field(default_factory=dict)

    async def given(self, question: Question, index: str) -> Given:
        """What stands in the prompt of a question whose arm has a context of its own, from an index `name@version`.

        Raises Unavailable if the service is gone.
        """
        key = (index, question.task.name, question.example.id)
        if key not in self._found:
            self._found[key] = asyncio.create_task(self._search(question.example, index))
        found = await asyncio.shield(self._found[key])
        match question.arm.context:
            case "gold":
                return found.gold
            case "wrong":
                return found.others
            case _:
                return _mixed(found, question)

    async def _search(self, example: Example, index: str) -> _Found:
        return _Found(await self._gold(example, index), await self._others(example, index))

    async def _gold(self, example: Example, index: str) -> Given:
        if example.context:
            document = example.gold_documents[0] if example.gold_documents else "given"
            return Given((GivenPassage(text=example.context, document=document),))
        found, outcome = await self._found_by(example, index, documents=example.gold_documents)
        if found is not None:
            found = sorted(found, key=lambda one: not holds(one.text, example))[:GOLD]
        return _given(found, outcome, f"index {index} holds no passage of {', '.join(example.gold_documents)}")

    async def _others(self, example: Example, index: str) -> Given:
        found, outcome = await self._found_by(example, index, without_documents=example.gold_documents)
        if found is not None:
            found = [one for one in found if not holds(one.text, example) and one.text not in example.context]
        return _given(found and found[:DISTRACTORS], outcome, f"index {index} holds no passage without the answer")

    async def _found_by(
        self, example: Example, index: str, **only: Sequence[str]
    ) -> tuple[list[Passage] | None, Outcome]:
        body: dict[str, object] = {"query": example.query, "top_k": _LOOKED_AT, "min_score": ANY_SCORE}
        return await self.service.search(index, body | {name: list(some) for name, some in only.items() if some})


def unheld(planned: Plan, items: Iterable[Item]) -> dict[str, int]:
    """By arm that is given gold passages, how many of its questions got none that holds an accepted answer; arms
    without such questions left out."""
    asked = {question.key: question for question in planned.all}
    found = Counter(
        item.arm
        for item in items
        if item.reply is not None
        and (question := asked[item.place]).arm.context in ("gold", "gold+distractors")
        and not any(holds(passage.text, question.example) for passage in item.reply.passages)
    )
    return dict(sorted(found.items()))


def _mixed(found: _Found, question: Question) -> Given:
    if found.gold.error or found.others.error:
        return found.gold if found.gold.error else found.others
    passages = [*found.gold.passages, *found.others.passages]
    random.Random(f"{question.seed} {question.example.id}").shuffle(passages)
    return Given(tuple(passages))


def _given(found: list[Passage] | None, outcome: Outcome, nothing: str) -> Given:
    if outcome.error is not None:
        return Given(error=f"a search failed: {outcome.error}")
    if not found:
        return Given(error=nothing)
    return Given(tuple(GivenPassage(text=one.text, document=one.document, heading=one.heading) for one in found))
