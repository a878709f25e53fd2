"""A version of an index made from texts in a line, without reading, splitting or publishing."""

from collections.abc import Sequence
from pathlib import Path

from indexer.build import MAX_TOKENS, Built
from indexer.building import BuildSpec, build_from
from indexer.contents import write
from indexer.embedding import TextEmbedder
from indexer.model import Model
from indexer.record import IndexedDocument, Record
from indexer.store import Indexes, IndexManifest
from ragtune.versions import Version
from ragtune.wire import Value
from tests.letters import LetterEmbedder

Metadata = dict[str, Value]


def document(id: str, tenant: str = "", revision: int = 0, **metadata: Value) -> IndexedDocument:  # noqa: A002
    """A document, its metadata by name."""
    return IndexedDocument(id=id, tenant=tenant, revision=revision, metadata=metadata)


def index_of(folder: Path, *contents: tuple[IndexedDocument, Sequence[str]]) -> Version[IndexManifest]:
    """The version that holds these documents with their passages; a passage's id is its document's and its place."""
    folder.mkdir(parents=True)
    records = [
        Record(
            id=f"{owner.tenant}/{owner.id}/{place}",
            document=owner.id,
            tenant=owner.tenant,
            revision=owner.revision,
            text=text,
            start=0,
            end=len(text),
        )
        for owner, texts in contents
        for place, text in enumerate(texts)
    ]
    write(folder, records, [owner for owner, _ in contents], LetterEmbedder().encode([r.text for r in records]))
    return version_at(folder, len(contents), len(records))


def version_at(folder: Path, documents: int = 1, passages: int = 1) -> Version[IndexManifest]:
    """What is in `folder`, as the store would hand it out."""
    manifest = IndexManifest(
        documents=documents,
        passages=passages,
        embedding_model="letters",
        embedding_fingerprint="letters-1",
        dimension=27,
        max_tokens=64,
        splitter=1,
        corpus_sha256="",
        seconds=0,
    )
    return Version("index", folder.name, 1, folder, manifest, "", True)


def build_index(docs: Path, name: str, indexes: Indexes, embedder: TextEmbedder, max_tokens: int = MAX_TOKENS) -> Built:
    """Build the documents below `docs` with a model that is in memory, not as a job."""
    spec = BuildSpec(index=name, path=str(docs), max_tokens=max_tokens)
    return build_from(spec, indexes, Model.loaded(embedder)).built
