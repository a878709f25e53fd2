"""What is asked of an index version: the query, how to search, and who may see what. Plain data, nothing heavy."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from ragtune.settings import Retrieval, Settings
from ragtune.wire import Filters, Retrieving

Method = Retrieval
_AS_SET = Retrieving()


class Search(BaseModel):
    """One search.

    `filters` hold on a document's metadata: each field equals the value, or one of the values, and all must hold.
    Where `documents` are named, only their passages are looked at, and those of `without_documents` never are; an id
    that nothing has is matched by nothing.
    A `tenant` sees its own passages and those of no tenant; None sees all. Passages under `min_score` are left out;
    it is a cosine for dense and hybrid, a BM25 score for lexical, and the reranker's score where `rerank` is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    method: Method = "hybrid"
    top_k: int = Field(default=4, ge=1)
    filters: Filters = {}
    documents: tuple[str, ...] | None = None
    without_documents: tuple[str, ...] = ()
    tenant: str | None = None
    min_score: float | None = None
    rerank: bool = False

    @classmethod
    def under(
        cls, settings: Settings, query: str, asked: Retrieving = _AS_SET, *, tenant: str | None = None
    ) -> "Search":
        """What is asked, and where it says nothing what these settings say; with their reranker, if they name one."""
        return cls(
            query=query,
            method=asked.retrieval or settings.retrieval,
            top_k=asked.top_k or settings.top_k,
            filters=asked.filters,
            documents=asked.documents,
            without_documents=asked.without_documents,
            tenant=tenant,
            min_score=settings.min_score if asked.min_score is None else asked.min_score,
            rerank=bool(settings.reranker),
        )


@dataclass(frozen=True)
class Hidden:
    """Documents deleted or replaced since a version was built: (tenant, id) to the last revision that is hidden.

    Two are equal if their tokens are. Without one a Hidden equals only itself, so keep the object while nothing
    changes: what it hides in an index version is worked out once.
    """

    revisions: Mapping[tuple[str, str], int] = field(compare=False)
    token: Hashable = field(default_factory=object)


nothing = Hidden({}, token="")
