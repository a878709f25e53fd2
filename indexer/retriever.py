"""Retrieval as the service and training both use it: a query and an index version in, passages out."""

import threading
from collections import OrderedDict

from indexer.embedding import TextEmbedder, Vectors
from indexer.search import Index
from indexer.store import IndexManifest
from ragtune.errors import IncompatibleParts
from ragtune.versions import Version
from ragtune.wire import Passage

_OPEN = 8  # index versions kept in memory
_VECTORS = 1024  # query vectors kept


class Retriever:
    """Safe to use from several threads: one lock guards the tokenizer, the caches and FAISS."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Index] = OrderedDict()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def embedder(self) -> TextEmbedder:
        """The embedding model."""
        return self._embedder

    def search(self, version: Version[IndexManifest], query: str, top_k: int) -> list[Passage]:
        """The best passages for `query`, best first.

        Raises IncompatibleParts if the index was built with another embedding model, even one of equal dimension.
        """
        built_with = version.manifest.embedding_fingerprint
        if built_with != self._embedder.fingerprint:
            raise IncompatibleParts(
                f"index {version} was built with {version.manifest.embedding_model}, the running embedding model is "
                f"{self._embedder.id}; rebuild it with 'ragtune index build', or set RAGTUNE_EMBEDDING_MODEL back"
            )
        with self._lock:
            return self._index(version).search(self._vector(query), top_k)

    def close(self, version: Version[IndexManifest]) -> None:
        """Free the memory of an index version that nobody searches any more."""
        with self._lock:
            self._open.pop(str(version), None)

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, special tokens not counted."""
        with self._lock:
            return [self._embedder.count(text) for text in texts]

    def embed(self, texts: list[str]) -> Vectors:
        """Vectors of `texts`, under the same lock."""
        with self._lock:
            return self._embedder.encode(texts)

    def _index(self, version: Version[IndexManifest]) -> Index:
        key = str(version)
        if key not in self._open:
            self._open[key] = Index(version.folder)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def _vector(self, query: str) -> Vectors:
        if query not in self._vectors:
            self._vectors[query] = self._embedder.encode([query])[0]
            if len(self._vectors) > _VECTORS:
                self._vectors.popitem(last=False)
        self._vectors.move_to_end(query)
        return self._vectors[query]
