"""What is asked of an index version: the query, how to search, and who may see what. Plain data, nothing heavy."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from ragtune.settings import Retrieval, Settings

Method = Retrieval
Value = str | int | float | bool


class Search(BaseModel):
    """One search.

    `filters` hold on a document's metadata: each field equals the value, or one of the values, and all must hold.
    A `tenant` sees its own passages and those of no tenant; None sees all. Passages under `min_score` are left out;
    it is a cosine for dense and hybrid, a BM25 score for lexical, and the reranker's score where `rerank` is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    method: Method = "hybrid"
    top_k: int = Field(default=4, ge=1)
    filters: dict[str, Value | tuple[Value, ...]] = {}
    tenant: str | None = None
    min_score: float | None = None
    rerank: bool = False

    @classmethod
    def under(cls, settings: Settings, query: str, top_k: int | None = None) -> "Search":
        """What these settings make of a bare query: their method, their reranker if they name one, their `top_k`."""
        return cls(
            query=query,
            method=settings.retrieval,
            top_k=top_k or settings.top_k,
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
