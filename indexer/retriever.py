"""Retrieval as the service and training both use it: a search and an index version in, passages out."""

import threading
from collections.abc import Callable

from indexer.contents import Contents
from indexer.embedding import TextEmbedder, Vectors
from indexer.rank import Hit, rank
from indexer.recent import Recent
from indexer.record import Found
from indexer.rerank import TextReranker
from indexer.search import Hidden, Search, nothing
from indexer.store import IndexManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, Unavailable
from ragtune.versions import Version

_OPEN = 8  # index versions kept in memory
_VECTORS = 1024  # query vectors kept


class Retriever:
    """Safe to use from several threads. Only the embedding takes turns; searching goes on in parallel."""

    def __init__(
        self,
        embedder: TextEmbedder | None,
        reranker: TextReranker | None = None,
        hidden: Callable[[str, Hidden | None], Hidden] | None = None,
    ) -> None:
        """`hidden` says what is hidden of an index, given what it said last, and is asked for every search."""
        self._embedder = embedder
        self._reranker = reranker
        self._ask = hidden
        self._hidden: dict[str, Hidden] = {}
        self._turn = threading.Lock()  # for the embedding's tokenizer
        self._open: Recent[str, _Opening] = Recent(_OPEN)
        self._vectors: Recent[str, Vectors] = Recent(_VECTORS)

    @property
    def embedder(self) -> TextEmbedder:
        """The embedding model. Raises Unavailable if there is none, as where only words are searched."""
        if self._embedder is None:
            raise Unavailable("no embedding model is loaded; only a lexical search does without")
        return self._embedder

    def search(self, version: Version[IndexManifest], search: Search) -> list[Found]:
        """The best passages of `version` for `search`, best first; those of hidden documents are not looked at.

        Raises IncompatibleParts if the index was built with another embedding model, even one of equal dimension, or
        by an older ragtune; InvalidRequest if reranking is asked for and no reranker is set; OSError or ValueError if
        the version's folder is gone or damaged.
        """
        if search.rerank and self._reranker is None:
            raise InvalidRequest("no reranker is set: name one with RAGTUNE_RERANKER", param="rerank")
        vector = None if search.method == "lexical" else self._query_vector(version, search.query)
        contents = self._contents(version)
        visible = contents.visibility.of(search, self._hidden_of(version.name))
        rerank = self._reranker.scores if search.rerank and self._reranker else None
        return [_found(contents, hit) for hit in rank(search, contents, visible, vector, rerank)]

    def _hidden_of(self, index: str) -> Hidden:
        if self._ask is None:
            return nothing
        hidden = self._hidden[index] = self._ask(index, self._hidden.get(index))
        return hidden

    def close(self, version: Version[IndexManifest]) -> None:
        """Free the memory of an index version that nobody searches any more."""
        self._open.forget(str(version))

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, special tokens not counted."""
        with self._turn:
            return [self.embedder.count(text) for text in texts]

    def embed(self, texts: list[str]) -> Vectors:
        """Vectors of `texts`, in turn with the queries."""
        with self._turn:
            return self.embedder.encode(texts)

    def _query_vector(self, version: Version[IndexManifest], query: str) -> Vectors:
        if version.manifest.embedding_fingerprint != self.embedder.fingerprint:
            raise IncompatibleParts(
                f"index {version} was built with {version.manifest.embedding_model}, the running embedding model is "
                f"{self.embedder.id}; rebuild it with 'ragtune index build', or set RAGTUNE_EMBEDDING_MODEL back"
            )
        return self._vectors.get(query, lambda: self.embed([query])[0])

    def _contents(self, version: Version[IndexManifest]) -> Contents:
        return self._open.get(str(version), lambda: _Opening(version)).contents()


class _Opening:
    """An index version that is opened once, by whoever comes first; the others wait, and other versions do not."""

    def __init__(self, version: Version[IndexManifest]) -> None:
        self._version = version
        self._lock = threading.Lock()
        self._contents: Contents | None = None

    def contents(self) -> Contents:
        with self._lock:
            if self._contents is None:
                self._contents = Contents(self._version.folder)
            return self._contents


def _found(contents: Contents, hit: Hit) -> Found:
    record = contents.record(hit.position).model_dump(exclude={"key"})
    return Found(**record, score=hit.score, scores=hit.scores)
