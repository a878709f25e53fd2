"""One question becomes one item: passages given where the arm has a context of its own, asked, observed, scored."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from eval.arm import GIVEN
from eval.asking import Asked, Outcome
from eval.context import Contexts, Given
from eval.fit import generates, only_retrieves
from eval.likelihood import Scorer, likeliest
from eval.metrics import score
from eval.needs import SCORED, needs
from eval.observed import Observed
from eval.opinion import Opinion
from eval.opinions import Opinions
from eval.parties import Parties
from eval.plan import Question
from eval.ranked import ranking, search
from eval.runfile import Item, Reply
from ragtune.examples import UNANSWERABLE
from ragtune.mode import Mode


@dataclass
class Questioner:
    """Asks the `parties`. `temperature` is for all; `reusable` are items of an earlier run, by their key."""

    parties: Parties
    opinions: Opinions
    temperature: float
    reusable: Mapping[str, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._contexts = Contexts(self.parties.service) if self.parties.service else None

    async def item(self, question: Question, *, alone: bool = False, warm_up: bool = False) -> Item:
        """One answer, scored; or the reason why there is none. Raises Unavailable if the service is gone."""
        item = _blank(question)
        given = await self._given(question)
        if given is not None and given.error is not None:
            return item.model_copy(update={"error": given.error})
        asked = self._asked(question, given)
        key = asked.fingerprint(
            self.parties.place(question.arm), str(question.repeat), *_texts(question), _how(question)
        )
        found = self.reusable.get(key)
        outcome = Outcome(found.reply) if found else await self._outcome(question, asked)
        how = {"retries": outcome.retries, "reused": found is not None, "warm_up": warm_up}
        item = item.model_copy(update={"key": key, **how})
        if outcome.reply is None:
            return item.model_copy(update={"error": outcome.error or "there was no answer"})
        observed = self._observed(question, asked, outcome.reply)
        observed, opinions = await self._with_opinions(question, observed)
        item = item.model_copy(update={"retries": item.retries + sum(one.retries for one in opinions.values())})
        for who, opinion in opinions.items():
            if opinion.error is not None:
                return item.model_copy(update={"error": f"{who} could not be asked: {opinion.error}"})
        scored = vars(score(observed, question.task.metrics))
        return item.model_copy(update={"reply": outcome.reply, "alone": alone and found is None, **scored})

    async def _given(self, question: Question) -> Given | None:
        """The passages of an arm with a context of its own."""
        if question.arm.context not in GIVEN:
            return None
        assert self._contexts is not None
        return await self._contexts.given(question, str(Mode.parse(self.parties.mode(question.arm)).index))

    def _asked(self, question: Question, given: Given | None) -> Asked:
        mode, arm = self.parties.mode(question.arm), question.arm
        bare = arm.context != "retrieved" or (not arm.outside and Mode.parse(mode).rag)  # of the example's own context
        query = question.example.query if bare else question.example.asked
        return Asked(
            mode=mode,
            query=f"{query}\n\n{arm.instruction}" if arm.instruction else query,
            max_tokens=question.task.max_tokens,
            history=question.example.history,
            passages=None if given is None else given.passages,
            top_k=arm.top_k,
            temperature=self.temperature,
            seed=question.seed,
        )

    async def _outcome(self, question: Question, asked: Asked) -> Outcome:
        if only_retrieves(question.task):
            return await search(self.parties.the_service, asked)
        outcome = Outcome()
        if generates(question.task):
            outcome = await self.parties.asker(question.arm).ask(asked)
            if outcome.reply is None:
                return outcome
        texts = _texts(question)
        return await self._with_likelihoods(asked, texts, outcome) if texts else outcome

    async def _with_likelihoods(self, asked: Asked, texts: Sequence[str], generated: Outcome) -> Outcome:
        """What was generated, if anything was, and the log-probabilities of the texts; a failure without them."""
        began, scorer = time.monotonic(), Scorer(self.parties.the_service)
        found = await scorer.likelihoods(asked, texts)
        retries = generated.retries + scorer.retries
        if not found:
            return Outcome(error=scorer.error, retries=retries)
        if generated.reply is None:
            milliseconds = 1e3 * (time.monotonic() - began)
            return Outcome(likeliest(asked, found, scorer.sent, milliseconds), retries=retries)
        return Outcome(generated.reply.model_copy(update={"likelihoods": found}), retries=retries)

    def _observed(self, question: Question, asked: Asked, reply: Reply) -> Observed:
        searched = asked.passages is None and not question.arm.outside and Mode.parse(asked.mode).rag
        return Observed(
            question.example,
            reply.text,
            labels=question.labels,
            refusals=question.refusals,
            passages=reply.passages,
            ranking=ranking(reply.passages) if searched else None,
            likelihoods=reply.likelihoods,
        )

    async def _with_opinions(self, question: Question, observed: Observed) -> tuple[Observed, dict[str, Opinion]]:
        """What the task's metrics need of others, beside who said it."""
        wanted, found = needs(question.task.metrics), dict[str, Opinion]()
        if "embedding" in wanted:
            found["the embedding model"] = said = await self.opinions.similarity(observed)
            observed = replace(observed, similarity=said.score)
        if "judge" in wanted:
            found["the judge"] = said = await self.opinions.judged(observed)
            observed = replace(observed, judged=said.score)
        return observed, found


def _blank(question: Question) -> Item:
    """What is known of an item before it is asked."""
    example = question.example
    return Item(
        arm=question.arm.name,
        task=question.task.name,
        example=example.id,
        repeat=question.repeat,
        cluster=question.cluster,
        slice=example.slice,
        query=example.query,
        answers=example.answers,
    )


def _texts(question: Question) -> tuple[str, ...]:
    """The texts whose log-probabilities are asked for: the choices, and the first answer."""
    if question.example.slice == UNANSWERABLE:  # scored by abstention alone
        return ()
    wanted = needs(question.task.metrics) & SCORED
    choices = question.example.choices if "choices" in wanted else ()
    return tuple(dict.fromkeys((*choices, *(question.example.answers[:1] if "likelihood" in wanted else ()))))


def _how(question: Question) -> str:
    return "search" if only_retrieves(question.task) else "generate" if generates(question.task) else "score"
