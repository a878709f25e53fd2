"""What others say of an answer: the service's embedding model, and the judge. Both are pinned when a run begins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eval.asking import Asked, Asker, Outcome
from eval.client import Service
from eval.embedding import embedding_model, similarity
from eval.endpoint import reach
from eval.judge import MAX_TOKENS, SEED, TEMPERATURE, check, judge
from eval.needs import needs
from eval.observed import Observed
from eval.opinion import Opinion
from eval.parties import Parties, pinned
from eval.suite import Arm, Judge, Suite
from ragtune.examples import UNANSWERABLE


@dataclass(frozen=True)
class Opinions:
    """The `embedding` model of the `service`, and the judge `by`, who is asked through `asker`; what no metric needs is
    None."""

    service: Service | None = None
    embedding: str | None = None
    by: Judge | None = None
    asker: Asker | None = None

    async def similarity(self, observed: Observed) -> Opinion:
        """The cosine of the text and its nearest answer. Raises Unavailable if the service is gone."""
        if observed.example.slice == UNANSWERABLE:  # scored by abstention alone
            return Opinion()
        assert self.service is not None and self.embedding is not None
        return await similarity(self.service, self.embedding, observed.text, observed.example.answers)

    async def judged(self, observed: Observed) -> Opinion:
        """The judge's score, 0 to 1. Raises Unavailable if it is the service's, and that is gone."""
        if observed.example.slice == UNANSWERABLE:
            return Opinion()
        assert self.by is not None
        return await judge(self._consult, self.by, observed)

    async def checked(self) -> "Opinions":
        """Itself. Raises RefusedArtifact if the judge cannot judge."""
        if self.by is not None:
            await check(self._consult, self.by)
        return self

    async def _consult(self, prompt: str) -> Outcome:
        assert self.by is not None and self.asker is not None
        return await self.asker.ask(Asked(self.by.model, prompt, MAX_TOKENS, temperature=TEMPERATURE, seed=SEED))


@asynccontextmanager
async def listening(suite: Suite, parties: Parties) -> AsyncIterator[Opinions]:
    """Whom the suite's metrics need. Raises RefusedArtifact or Unavailable if one cannot answer."""
    wanted, by = needs(name for task in suite.tasks for name in task.metrics), suite.judge
    embedding = embedding_model(parties.server) if "embedding" in wanted else None
    if by is None or "judge" not in wanted:
        yield Opinions(parties.service, embedding)
    elif by.endpoint is None:
        by = by.model_copy(update={"model": str(await pinned(parties.the_service, by.model))})
        yield await Opinions(parties.service, embedding, by, parties.the_service).checked()
    else:
        arm = Arm(endpoint=by.endpoint, model=by.model, api_key_env=by.api_key_env)
        async with reach(arm, timeout=suite.timeout, concurrency=suite.concurrency) as endpoint:
            yield await Opinions(parties.service, embedding, by, endpoint).checked()
