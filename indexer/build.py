"""Building an index version from the documents of an index: split, embed, write beside the live one, check, publish.

`indexer.building` does it as a job. Only what is new costs anything: passages of documents that have not
changed are taken from the last version, and so is the vector of every passage whose text is the same.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version as library_version
from typing import Protocol

import numpy as np

from indexer.checks import check
from indexer.contents import read_records, write
from indexer.dense import read_vectors
from indexer.documents import Document, Problem
from indexer.embedding import TextEmbedder, Vectors
from indexer.lexical import ANALYSIS
from indexer.model import Model
from indexer.partial import Partial
from indexer.reading import READER
from indexer.record import IndexedDocument, Record
from indexer.split import Piece, split
from indexer.store import Indexes, IndexManifest
from indexer.stored_documents import Snapshot, StoredDocument
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.mode import check_name
from ragtune.versions import Version

SPLITTER = 2  # raise it when `split` changes what it produces
MAX_TOKENS = 150
_MOST_PROBLEMS = 500  # listed in a manifest; the others are counted
TOGETHER = 512  # passages that are embedded before they are written down
_LIBRARIES = ("faiss-cpu", "bm25s", "PyStemmer", "sentence-transformers", "torch")


class Watch(Protocol):
    """Who is told how far a build is. It may raise, which ends the build with nothing published."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """`done` of `total` passages, or documents, of a stage."""


@dataclass(frozen=True)
class Built:
    """A finished build. `unchanged` when the current version already held just this; `problems` are those of now, which
    may be others than when that was built."""

    version: Version[IndexManifest]
    problems: tuple[Problem, ...]
    unchanged: bool


def build(
    name: str,
    indexes: Indexes,
    model: Model,
    max_tokens: int | None = None,
    watch: Watch = lambda _stage, _done, _total: None,
    author: str = "",
    together: int = TOGETHER,
) -> Built:
    """Publish the documents of `name` as its next version; where the current one holds just them, nothing.

    Without `max_tokens` passages are as long as in the current version.

    Raises RefusedArtifact if there are none, or if the version fails its own checks.
    """
    check_name(name, "index")
    started = time.monotonic()
    snapshot = indexes.documents.snapshot(name)
    if not snapshot.documents:
        raise RefusedArtifact(f"index {name!r} has no documents; upload some, or build it from a folder")
    max_tokens = max_tokens or _as_before(indexes, name)
    if existing := _same(indexes, name, snapshot, max_tokens, model):
        return Built(existing, snapshot.problems, unchanged=True)
    work = _Build(name, indexes, model, snapshot, max_tokens, watch, together, started)
    records, vectors = work.passages()
    snapshot = work.snapshot
    watch("writing", 0, len(records))
    with indexes.versions.staging() as folder:
        write(folder, records, [_indexed(document) for document in snapshot.documents], vectors)
        checks = check(folder, records, vectors)
        watch("writing", len(records), len(records))
        seconds = round(work.seconds, 3)
        manifest = IndexManifest(
            documents=len(snapshot.documents),
            passages=len(records),
            embedding_model=model.id,
            embedding_revision=model.revision,
            embedding_fingerprint=model.fingerprint,
            dimension=vectors.shape[1],
            max_tokens=max_tokens,
            window=work.window,
            splitter=SPLITTER,
            reader=READER,
            analysis=ANALYSIS,
            corpus_sha256=snapshot.content,
            revisions_sha256=snapshot.revisions,
            problems=_listed(snapshot.problems),
            libraries={library: library_version(library) for library in _LIBRARIES},
            seconds=seconds,
            paid_seconds=_paid(seconds, work),
            embedded=work.embedded,
            checks=checks,
        )
        version = indexes.versions.publish(name, folder, manifest, author=author)
    work.partial.discard()
    return Built(version, snapshot.problems, unchanged=False)


@dataclass
class _Build:
    """One build at work: what it can take from the last version, and what it has to make."""

    name: str
    indexes: Indexes
    model: Model
    snapshot: Snapshot
    max_tokens: int
    watch: Watch
    together: int
    started: float
    embedded: int = 0
    earlier: float = 0.0  # seconds of ended builds that this one goes on from
    anew: bool = False  # no passage is one of the last version's

    @property
    def seconds(self) -> float:
        """What it took so far, with what it goes on from."""
        return self.earlier + time.monotonic() - self.started

    @cached_property
    def embedder(self) -> TextEmbedder:
        self.watch("loading the embedding model", 0, 0)
        return self.model.load()

    @cached_property
    def last(self) -> Version[IndexManifest] | None:
        """The newest version whose passages and vectors can be used again."""
        wanted = (self.max_tokens, SPLITTER, self.model.fingerprint)
        if self.name not in self.indexes.versions.names():
            return None
        for version in reversed(self.indexes.versions.of(self.name)):
            m = version.manifest
            if (m.max_tokens, m.splitter, m.embedding_fingerprint) == wanted and m.revisions_sha256:
                return version
        return None

    @property
    def window(self) -> int:
        return self.last.manifest.window if self.last else self.embedder.window

    @cached_property
    def partial(self) -> Partial:
        dimension = self.last.manifest.dimension if self.last else self.embedder.dimension
        return Partial(self.indexes.folder, self.name, self.model.fingerprint, dimension)

    def passages(self) -> tuple[list[Record], Vectors]:
        """All passages in order of document, and their (n, dimension) vectors of length 1.

        Afterwards `snapshot` holds the documents they are of. Raises RefusedArtifact if there are none.
        """
        old = list(read_records(self.last.folder)) if self.last else []
        known = (
            dict(zip((record.key for record in old), read_vectors(self.last.folder), strict=True)) if self.last else {}
        )
        kept: dict[int, list[Record]] = {}
        for record in old:
            kept.setdefault(record.revision, []).append(record)
        documents: list[StoredDocument] = []
        records: list[Record] = []
        fresh: dict[str, str] = {}  # what is embedded, by key
        for document, made in self._split(kept):
            documents.append(document)
            for piece in made:
                record = _record(document, piece)
                records.append(record)
                fresh[record.key] = piece.embedded_text
            if not made:
                records += kept.get(document.revision, [])
        self.snapshot = replace(self.snapshot, documents=tuple(documents))
        if not records:
            raise RefusedArtifact(f"the documents of {self.name!r} hold no text")
        missing = {key: text for key, text in fresh.items() if key not in known}
        self.anew = missing.keys() == {record.key for record in records}
        if missing:
            known |= self._embed(missing)
        return records, np.stack([known[record.key] for record in records])

    def _split(self, kept: dict[int, list[Record]]) -> Iterator[tuple[StoredDocument, list[Piece]]]:
        """Every document with its new passages; none for one whose passages are kept.

        One that has changed since the build began is taken as it is by now, and one that has left is left out.
        """
        fresh = [document for document in self.snapshot.documents if document.revision not in kept]
        texts = self.indexes.documents.texts(fresh) if len(fresh) < self.together else {}
        done = 0
        for document in self.snapshot.documents:
            if document.revision in kept:
                yield document, []
                continue
            if whole := self._whole(document, texts):
                yield whole[0], split(whole[1], self.embedder.offsets, min(self.max_tokens, self.embedder.window))
            done += 1
            self.watch("splitting", done, len(fresh))

    def _whole(self, stored: StoredDocument, texts: dict[str, str]) -> tuple[StoredDocument, Document] | None:
        """The document with its text, of `texts` or as it stands by now; None if it has left."""
        text = texts.get(stored.text_sha256)
        while text is None:
            text = self.indexes.documents.texts([stored]).get(stored.text_sha256)
            if text is None:
                try:
                    stored = self.indexes.documents.get(self.name, stored.tenant, stored.id)
                except UnknownName:
                    return None
        return stored, Document(stored.id, stored.title, text, stored.markdown, stored.metadata)

    def _embed(self, missing: dict[str, str]) -> dict[str, Vectors]:
        """Vectors by key; what an ended build has left is used, what is made is written down at once."""
        found = {key: vector for key, vector in self.partial.load().items() if key in missing}
        total = len(missing)
        todo = sorted(missing.keys() - found.keys(), key=lambda key: (len(missing[key]), key))
        self.embedded, self.earlier = len(todo), self.partial.seconds if found else 0.0
        done = len(found)
        self.watch("embedding", done, total)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.watch("embedding", done, total)

        for at in range(0, len(todo), self.together):
            keys = todo[at : at + self.together]
            vectors = self.embedder.encode([missing[key] for key in keys], advance)
            if not np.isfinite(vectors).all():
                raise RefusedArtifact(f"the embedding model {self.model.id} gives vectors that are not finite")
            self.partial.append(keys, vectors, self.seconds)
            found |= dict(zip(keys, vectors, strict=True))
        return found


def _paid(seconds: float, work: "_Build") -> float | None:
    """By this build and those whose passages it took over; None where what one of them took is not known."""
    if work.last is None or work.anew:
        return seconds
    before = work.last.manifest.paid_seconds
    return None if before is None else round(before + seconds, 3)


def _as_before(indexes: Indexes, name: str) -> int:
    current = [version for version in indexes.versions.current() if version.name == name]
    return current[0].manifest.max_tokens if current else MAX_TOKENS


def _listed(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """What a manifest tells: every request that names the index reads it."""
    rest = len(problems) - _MOST_PROBLEMS
    if rest <= 0:
        return problems
    return (*problems[:_MOST_PROBLEMS], Problem(source="*", reason=f"problems that are not listed: {rest}"))


def _same(
    indexes: Indexes, name: str, snapshot: Snapshot, max_tokens: int, model: Model
) -> Version[IndexManifest] | None:
    wanted = (snapshot.revisions, max_tokens, SPLITTER, READER, ANALYSIS, model.fingerprint)
    for version in indexes.versions.current():
        m = version.manifest
        have = (m.revisions_sha256, m.max_tokens, m.splitter, m.reader, m.analysis, m.embedding_fingerprint)
        if version.name == name and have == wanted:
            return version
    return None


def _record(document: StoredDocument, piece: Piece) -> Record:
    return Record(
        id=piece.id if not document.tenant else _hash(f"{document.tenant}\0{piece.id}")[:16],
        document=document.id,
        tenant=document.tenant,
        revision=document.revision,
        heading=piece.heading,
        text=piece.text,
        start=piece.start,
        end=piece.end,
        joins=piece.joins,
        gap=piece.gap,
        key=_hash(piece.embedded_text)[:32],
    )


def _indexed(document: StoredDocument) -> IndexedDocument:
    return IndexedDocument(
        id=document.id,
        tenant=document.tenant,
        revision=document.revision,
        title=document.title,
        source=document.source,
        sha256=document.text_sha256,
        metadata=document.metadata,
    )


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
