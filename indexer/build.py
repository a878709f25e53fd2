"""Building an index version: read, split, embed, write beside the live one, publish.

    python -m indexer.build DOCS --name NAME

The service starts it so, in a process of its own; the last line on stdout is the published version as JSON.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path

from indexer.contents import write
from indexer.documents import Document, read_documents
from indexer.embedding import TextEmbedder, load_embedder
from indexer.lexical import ANALYSIS
from indexer.record import IndexedDocument, Record
from indexer.split import Piece, split
from indexer.store import Indexes, IndexManifest
from ragtune.errors import RagtuneError
from ragtune.mode import check_name
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import progress, say
from ragtune.versions import Version

SPLITTER = 1  # raise it when `split` changes what it produces
MAX_TOKENS = 150
_LIBRARIES = ("faiss-cpu", "sentence-transformers", "torch")


@dataclass(frozen=True)
class Built:
    """A finished build. `unchanged` when the current version already held just this."""

    version: Version[IndexManifest]
    unchanged: bool


def build_index(
    docs: Path,
    name: str,
    indexes: Indexes,
    embedder: TextEmbedder,
    max_tokens: int = MAX_TOKENS,
    embedding: Callable[[int], Callable[[int], None]] | None = None,
) -> Built:
    """Publish the documents below `docs` as the next version of `name`.

    `embedding(total)` is called once with the number of passages and gives what hears of each batch done. The same
    documents, splitter and model again publish nothing. Raises RefusedArtifact if there is nothing to index.
    """
    check_name(name, "index")
    started = time.monotonic()
    documents, problems = read_documents(docs)
    corpus = _corpus_hash(documents)
    limit = min(max_tokens, embedder.window)
    if existing := _same(indexes, name, corpus, limit, embedder):
        return Built(existing, unchanged=True)
    pieces = [piece for document in documents for piece in split(document, embedder.count, limit)]
    vectors = embedder.encode([piece.embedded_text for piece in pieces], embedding(len(pieces)) if embedding else None)
    with indexes.versions.staging() as folder:
        write(folder, _records(pieces), _documents(documents), vectors)
        manifest = IndexManifest(
            documents=len(documents),
            passages=len(pieces),
            embedding_model=embedder.id,
            embedding_fingerprint=embedder.fingerprint,
            dimension=embedder.dimension,
            max_tokens=limit,
            splitter=SPLITTER,
            analysis=ANALYSIS,
            corpus_sha256=corpus,
            problems=tuple(problems),
            libraries={library: library_version(library) for library in _LIBRARIES},
            seconds=round(time.monotonic() - started, 3),
        )
        return Built(indexes.versions.publish(name, folder, manifest), unchanged=False)


def build_with_progress(docs: Path, name: str, settings: Settings, max_tokens: int = MAX_TOKENS) -> Built:
    """`build_index` under these settings, with a bar for the person watching."""
    check_name(name, "index")
    read_documents(docs)  # a wrong name or path should be told before the model is loaded
    say("loading the embedding model ...")
    embedder = load_embedder(settings)
    indexes = Indexes(settings.home, Database(settings.database))
    indexes.versions.collect_staging()
    with progress(f"embedding passages for {name}", None) as bar:

        def embedding(total: int) -> Callable[[int], None]:
            bar.total(total)
            return bar.advance

        return build_index(docs, name, indexes, embedder, max_tokens, embedding)


def _same(
    indexes: Indexes, name: str, corpus: str, limit: int, embedder: TextEmbedder
) -> Version[IndexManifest] | None:
    wanted = (corpus, limit, SPLITTER, embedder.fingerprint)
    for version in indexes.versions.current():
        m = version.manifest
        if version.name == name and (m.corpus_sha256, m.max_tokens, m.splitter, m.embedding_fingerprint) == wanted:
            return version
    return None


def _corpus_hash(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        for part in (document.id, document.title, document.text):
            digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def _records(pieces: Sequence[Piece]) -> list[Record]:
    return [
        Record(id=p.id, document=p.document, heading=p.heading, text=p.text, start=p.start, end=p.end) for p in pieces
    ]


def _documents(documents: Sequence[Document]) -> list[IndexedDocument]:
    return [IndexedDocument(id=document.id, title=document.title, source=document.id) for document in documents]


def main() -> None:
    """Entry point of `python -m indexer.build`; errors go to stderr as JSON, exit code 1."""
    parser = argparse.ArgumentParser(description="Build an index version.")
    parser.add_argument("docs", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    args = parser.parse_args()
    try:
        built = build_with_progress(args.docs, args.name, Settings.load(), args.max_tokens)
    except RagtuneError as error:
        print(json.dumps({"code": error.code, "message": error.message}), file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"version": str(built.version), "unchanged": built.unchanged}))


if __name__ == "__main__":
    main()
