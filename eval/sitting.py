"""One sitting: the questions that are missing, some one at a time, the others together; every item kept at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eval.fit import generates
from eval.parties import Parties
from eval.plan import Plan, Question
from eval.questioner import Questioner
from eval.runfile import Alone, Item, RunWriter


class Progress(Protocol):
    """Who hears how it goes."""

    def begin(self, missing: int, kept: int) -> None:
        """So many questions are to be asked; so many were answered in an earlier sitting."""

    def advance(self, arm: str, error: str | None) -> None:
        """One was asked in this arm, and failed if there is an error."""


@dataclass
class Sitting:
    """`items` are all that the run has so far, those of earlier sittings first."""

    questioner: Questioner
    parties: Parties
    writer: RunWriter
    progress: Progress
    items: list[Item]

    async def ask(self, planned: Plan) -> None:
        """All that is missing. Raises Unavailable if the service is gone; what was answered is kept."""
        asked = {item.place for item in self.items}
        missing = [question for question in planned.all if question.key not in asked]
        timed = Counter(item.arm for item in self.items if item.alone)
        first: list[Question] = []
        for arm in planned.suite.arms:
            if arm.context != "retrieved":  # nobody can serve it
                continue
            of_arm = [question for question in missing if question.arm == arm]
            first += await self._alone(of_arm, planned.suite.alone - timed[arm.name])
        done = {question.key for question in first}
        await self._together([question for question in missing if question.key not in done])

    async def _alone(self, questions: Sequence[Question], count: int) -> list[Question]:
        """So many one at a time, after one that warms up whatever serves them; of those that an answer is generated
        for, as the others have no first token. Which were asked."""
        generated = [question for question in questions if generates(question.task)]
        cold = 1 if count > 0 and len(generated) > 1 else 0
        chosen = generated[: cold + max(0, count)]
        for place, question in enumerate(chosen):
            warms = place < cold
            self._keep(await self.questioner.item(question, alone=not warms, warm_up=warms))
        return chosen

    async def _together(self, questions: Sequence[Question]) -> None:
        async def one(question: Question) -> None:
            async with self.parties.free(question.arm):
                self._keep(await self.questioner.item(question))

        try:
            async with asyncio.TaskGroup() as group:
                for question in questions:
                    group.create_task(one(question))
        except BaseExceptionGroup as failures:  # the first reason is what a person can act on
            raise failures.exceptions[0] from failures

    def _keep(self, item: Item) -> None:
        self.writer.write(item)
        self.items.append(item)
        self.progress.advance(item.arm, item.error)


def alone(planned: Plan, items: Sequence[Item]) -> dict[str, tuple[Alone, ...]]:
    """By arm the times of the requests that had the service to themselves, and were answered."""
    found: dict[str, tuple[Alone, ...]] = {arm.name: () for arm in planned.suite.arms}
    place = {question.key: number for number, question in enumerate(planned.all)}
    for item in sorted((item for item in items if item.alone and item.reply), key=lambda item: place[item.place]):
        assert item.reply is not None
        timings = item.reply.timings
        found[item.arm] += (Alone(first_token_ms=timings.first_token_ms, total_ms=timings.total_ms),)
    return found
