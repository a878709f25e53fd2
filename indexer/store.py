"""The registry of knowledge indexes: versions in the store, each a folder with passages and vectors."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from indexer.documents import Problem
from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.versions import Version, Versions

KIND = "index"


class IndexManifest(BaseModel):
    """What is recorded of an index version."""

    model_config = ConfigDict(frozen=True)

    documents: int
    passages: int
    embedding_model: str
    embedding_fingerprint: str
    dimension: int
    max_tokens: int
    splitter: int
    analysis: str = ""
    corpus_sha256: str
    problems: tuple[Problem, ...] = ()
    libraries: dict[str, str] = {}
    seconds: float


class Indexes:
    """Named, versioned indexes."""

    def __init__(self, home: Path, database: Database) -> None:
        self.versions = Versions(home, database, KIND, IndexManifest)

    def resolve(self, ref: Ref, *, param: str | None = None) -> Version[IndexManifest]:
        """The version `ref` names. Raises UnknownName; `param` is the field at fault."""
        return self.versions.resolve(ref, param=param)
