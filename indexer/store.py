"""The registry of knowledge indexes: their documents, and versions, each a folder with passages and vectors."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from indexer.documents import Problem
from indexer.stored_documents import StoredDocuments
from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.versions import Version, Versions

KIND = "index"


def resource(index: str) -> str:
    """What a job on an index locks."""
    return f"index:{index}"


class Checks(BaseModel):
    """What a version was put to before it was published.

    `canaries` passages were looked for by their own vector and words: `dense` and `lexical` say how many of them were
    found first, and among the first ten. `recall` is that of the search against plain arithmetic, for the first ten.
    """

    model_config = ConfigDict(frozen=True)

    canaries: int
    dense: int
    lexical: int
    recall: float


class IndexManifest(BaseModel):
    """What is recorded of an index version. `max_tokens` is the longest passage asked for, `window` the model's own.

    `embedded` passages were embedded for this version, the others had been before. `seconds` are of this build
    and of ended ones that it went on from, `paid_seconds` of all builds since the last one that embedded every passage:
    what the index cost as it is. It is None where one of them is from before this was recorded.
    """

    model_config = ConfigDict(frozen=True)

    documents: int
    passages: int
    embedding_model: str
    embedding_revision: str = ""
    embedding_fingerprint: str
    dimension: int
    normalised: bool = True
    max_tokens: int
    window: int = 0
    splitter: int
    reader: int = 0
    analysis: str = ""
    corpus_sha256: str
    revisions_sha256: str = ""
    problems: tuple[Problem, ...] = ()
    libraries: dict[str, str] = {}
    seconds: float
    paid_seconds: float | None = None
    embedded: int = 0
    checks: Checks | None = None


class Indexes:
    """Named, versioned indexes, and the documents they are built from."""

    def __init__(self, home: Path, database: Database) -> None:
        self.versions = Versions(home, database, KIND, IndexManifest)
        self.documents = StoredDocuments(database)
        self.folder = home / "store" / KIND

    def resolve(self, ref: Ref, *, param: str | None = None) -> Version[IndexManifest]:
        """The version `ref` names. Raises UnknownName; `param` is the field at fault."""
        return self.versions.resolve(ref, param=param)
