"""What the names in a recipe mean now: its template and its index, pinned, and the passages of that index."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.gold import Knowledge, passages_by_document
from adapters.recipe import Recipe
from indexer.embedding import load_embedder
from indexer.record import Found
from indexer.rerank import load_reranker
from indexer.retriever import Retriever
from indexer.search import Search as Asked
from indexer.store import Indexes, IndexManifest
from ragtune.mode import Ref
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.terminal import say
from ragtune.versions import Version
from ragtune.wire import Retrieving


@dataclass(frozen=True)
class Context:
    """What prompts are made with. The versions are None for the built-in layout, and without an index."""

    template: Template
    template_version: str | None
    index_version: str | None
    knowledge: Knowledge | None


def resolve(recipe: Recipe, settings: Settings, database: Database) -> Context:
    """Raises UnknownName for a template or an index there is not."""
    template = Templates(settings.home, database).get(Ref.parse(recipe.template)) if recipe.template else None
    indexes = Indexes(settings.home, database)
    index = indexes.resolve(Ref.parse(recipe.index)) if recipe.index else None
    return Context(
        template=template.manifest.template if template else Template.default(settings),
        template_version=str(template) if template else None,
        index_version=str(index) if index else None,
        knowledge=_knowledge(index, indexes, recipe, settings) if index else None,
    )


def _knowledge(index: Version[IndexManifest], indexes: Indexes, recipe: Recipe, settings: Settings) -> Knowledge:
    """Searched as the service searches under these settings, but for the recipe's `top_k`, and for nobody's tenant: an
    adapter is everybody's, so no tenant's own passages may enter it."""
    say(f"taking passages from {index} for every example ...")
    embedder = None if settings.retrieval == "lexical" else load_embedder(settings)
    retriever = Retriever(embedder, load_reranker(settings), indexes.documents.hidden)

    def search(query: str, count: int | None) -> Sequence[Found]:
        return retriever.search(index, Asked.under(settings, query, Retrieving(top_k=count or recipe.top_k), tenant=""))

    hidden = indexes.documents.hidden(index.name)
    gold = recipe.passages == "gold"
    return Knowledge(
        search=search,
        budget=recipe.passage_tokens or settings.passage_tokens,
        documents=passages_by_document(index.folder, hidden) if gold else {},
    )
