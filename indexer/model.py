"""The embedding model as a build needs it: by name at once, in memory only if something has to be embedded."""

from collections.abc import Callable
from dataclasses import dataclass

from indexer.embedding import TextEmbedder, identify, load_embedder
from ragtune.settings import Settings


@dataclass(frozen=True)
class Model:
    """An embedding model by name. `load` brings it into memory, which takes seconds."""

    id: str
    fingerprint: str
    load: Callable[[], TextEmbedder]
    revision: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Model":
        """The one these settings name. Raises Unavailable or InvalidRequest with what to do.

        One that is named by a hub id has to be loaded to say which it is.
        """
        if (known := identify(settings)) is not None:
            name, fingerprint, revision = known
            return cls(name, fingerprint, lambda: load_embedder(settings), revision)
        embedder = load_embedder(settings)
        return cls(embedder.id, embedder.fingerprint, lambda: embedder, embedder.revision)

    @classmethod
    def loaded(cls, embedder: TextEmbedder) -> "Model":
        """One that is in memory already."""
        return cls(embedder.id, embedder.fingerprint, lambda: embedder)
