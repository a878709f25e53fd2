"""Examples with the passage that holds their answer, among others that do not: what reading is learnt from.

Of the gold documents' passages the one that holds an answer is shown, the one the search ranks best if there are
several, with `distractors` retrieved passages of other documents. Passages stand as the service would put them, by rank
or place in the documents, so that where one stands does not say whether it is gold. Some examples get as many passages
of other documents only, none of which holds the answer, and are answered with the words for that.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapters.dataset import Reason, Shown
from adapters.recipe import Recipe
from adapters.tokenizer import Tokenizer
from adapters.wording import holds, normalised
from indexer.contents import read_records
from indexer.neighbours import joined
from indexer.record import Found
from indexer.search import Hidden, nothing
from ragtune.errors import IncompatibleParts
from ragtune.examples import UNANSWERABLE, Example
from ragtune.prompt import numbered, within_budget
from ragtune.template import Template

_DEPTH = 100  # passages the search is asked for, to find distractors among


class SearchFor(Protocol):
    """A search as the service would do it, best first; `count` asks for more passages than it would hand out."""

    def __call__(self, query: str, count: int | None) -> Sequence[Found]: ...


@dataclass(frozen=True)
class Knowledge:
    """Passages of a pinned index version. `budget` are the tokens they may take in a prompt; `documents` are all its
    passages by document, where gold ones are asked for."""

    search: SearchFor
    budget: int
    documents: Mapping[str, Sequence[Found]] = field(default_factory=dict)


def passages_by_document(folder: Path, hidden: Hidden = nothing) -> dict[str, list[Found]]:
    """All passages of the index version in `folder` that are everybody's and not hidden, by their document's id and in
    order."""
    documents: dict[str, list[Found]] = {}
    for record in read_records(folder):
        if not record.tenant and record.revision > hidden.revisions.get((record.tenant, record.document), -1):
            found = Found(**record.model_dump(exclude={"key"}), score=0.0)
            documents.setdefault(record.document, []).append(found)
    return documents


class Gold:
    """Chooses the passages of each example; a `Choice`."""

    def __init__(
        self,
        examples: Sequence[Example],
        knowledge: Knowledge,
        recipe: Recipe,
        template: Template,
        tokenizer: Tokenizer,
    ) -> None:
        """Which of `examples` do without their gold passage is drawn here, by the recipe's seed."""
        self._knowledge, self._recipe = knowledge, recipe
        self._template, self._tokenizer = template, tokenizer
        able = [example.id for example in examples if _has_gold(example)]
        count = round(recipe.without_gold * len(able))
        self._without = frozenset(random.Random(f"{recipe.seed}/without_gold").sample(able, count))

    def __call__(self, example: Example) -> Shown | Reason:
        """The example and its passages, or why it is left out."""
        found = self._knowledge.search(example.query, _DEPTH)
        if example.slice == UNANSWERABLE:
            return self._without_gold(example, found)
        if not _has_gold(example):
            return "no gold"
        own = self._own(example, found)
        holding = [passage for passage in own if holds(passage.text, example)]
        if not holding:
            return "unsupported" if own else "not indexed"
        rank = {passage.id: place for place, passage in enumerate(found)}
        gold = min(holding, key=lambda passage: rank.get(passage.id, len(rank)))
        documents = {*example.gold_documents, gold.document}
        others = [passage for passage in found if passage.document not in documents]
        if example.id in self._without:
            unheld = [passage for passage in others if not holds(passage.text, example)]
            answered = example.model_copy(update={"answers": (self._recipe.unanswerable,), "slice": UNANSWERABLE})
            return self._without_gold(answered, unheld)
        return self._with_gold(example, gold, others, rank)

    def _own(self, example: Example, found: Sequence[Found]) -> list[Found]:
        """The passages of its documents; or those found that are of its context, or around it."""
        if example.gold_documents:
            return [passage for name in example.gold_documents for passage in self._knowledge.documents.get(name, ())]
        context = normalised(example.context)
        texts = ((passage, normalised(passage.text)) for passage in found)
        return [passage for passage, text in texts if text in context or context in text]

    def _with_gold(
        self, example: Example, gold: Found, others: Sequence[Found], rank: Mapping[str, int]
    ) -> Shown | Reason:
        chosen = self._fitting([gold, *others[: self._recipe.distractors]])
        if gold not in chosen:
            return "over budget"
        by_rank = sorted(chosen, key=lambda passage: rank.get(passage.id, len(rank)))
        if gold.id not in rank:  # the search missed it: anywhere among those it stands with
            by_rank.remove(gold)
            by_rank.insert(random.Random(f"{self._recipe.seed}/{example.id}").randint(0, len(by_rank)), gold)
        return self._shown(example, by_rank)

    def _without_gold(self, example: Example, others: Sequence[Found]) -> Shown | Reason:
        """As many passages as with gold: their number says nothing either."""
        chosen = self._fitting(others[: self._recipe.distractors + 1])
        return self._shown(example, chosen) if chosen else "no distractor"

    def _fitting(self, passages: Sequence[Found]) -> list[Found]:
        """Those that fit into the budget, which may be none."""
        try:
            return within_budget(passages, self._knowledge.budget, self._template, self._tokenizer)
        except IncompatibleParts:
            return []

    def _shown(self, example: Example, passages: Sequence[Found]) -> Shown:
        fewer = len(passages) < self._recipe.distractors + 1
        return Shown(example, numbered(joined(passages), self._template), fewer)


def _has_gold(example: Example) -> bool:
    return example.slice != UNANSWERABLE and bool(example.gold_documents or example.context)
