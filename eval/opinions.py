"""What others say of an answer: the service's embedding model, and the judge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from eval.asking import Asked, Asker
from eval.embedding import embedding_model, similarities
from eval.endpoint import reach
from eval.judge import MAX_TOKENS, SEED, TEMPERATURE, check, judge
from eval.needs import needs
from eval.observed import Observed
from eval.parties import Parties
from eval.suite import Arm, Judge, Suite


@dataclass(frozen=True)
class Opinions:
    """`embedding` is the model of that name; both are None where no metric asks for them."""

    client: httpx.AsyncClient | None = None
    embedding: str | None = None
    by: Judge | None = None
    asker: Asker | None = None

    async def similarity(self, observed: Observed) -> float | None:
        """The cosine of the text and its nearest answer; None if it could not be had."""
        assert self.client is not None and self.embedding is not None
        (found,) = await similarities(self.client, self.embedding, [observed.text], [observed.example.answers])
        return found

    async def judged(self, observed: Observed) -> float | None:
        """The judge's score, 0 to 1; None if there is none."""
        assert self.by is not None
        return await judge(self._consult, self.by, observed)

    async def _consult(self, prompt: str) -> str | None:
        assert self.by is not None and self.asker is not None
        asked = Asked(self.by.model, prompt, MAX_TOKENS, temperature=TEMPERATURE, seed=SEED)
        reply = (await self.asker.ask(asked)).reply
        return reply.text if reply else None


@asynccontextmanager
async def listening(suite: Suite, parties: Parties) -> AsyncIterator[Opinions]:
    """Whom the suite's metrics need. Raises RefusedArtifact or Unavailable if one cannot answer."""
    wanted = needs(name for task in suite.tasks for name in task.metrics)
    client = parties.the_service.client if "embedding" in wanted else None
    embedding = await embedding_model(client) if client else None
    if suite.judge is None or "judge" not in wanted:
        yield Opinions(client, embedding)
        return
    by = suite.judge
    if by.endpoint is None:
        await parties.the_service.check(by.model)
        yield await _checked(Opinions(client, embedding, by, parties.the_service))
        return
    arm = Arm(endpoint=by.endpoint, model=by.model, api_key_env=by.api_key_env)
    async with reach(arm, timeout=suite.timeout, concurrency=suite.concurrency) as endpoint:
        yield await _checked(Opinions(client, embedding, by, endpoint))


async def _checked(opinions: Opinions) -> Opinions:
    assert opinions.by is not None
    await check(opinions._consult, opinions.by)
    return opinions
