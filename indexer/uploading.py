"""Documents that come one by one, over HTTP or by command: read as a build reads a file in a folder, and stored.

They stay whatever a folder that is built says, until they are deleted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from indexer.documents import Document, Metadata, Problem
from indexer.formats.limits import checked
from indexer.reading import READER, SUFFIXES, Reader
from indexer.stored_documents import UPLOAD, Put, Source, StoredDocuments
from ragtune.errors import InvalidRequest, RefusedArtifact

_LONGEST_ID = 512


@dataclass(frozen=True)
class Upload:
    """A file that was read: what it holds, and what of it could not be read."""

    id: str
    sha256: str
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...] = ()


def check_file_id(id: str) -> None:  # noqa: A002
    """Raises InvalidRequest for what cannot be an id, RefusedArtifact for one that names no format that is read."""
    check_id(id)
    if PurePosixPath(id).suffix.lower() not in SUFFIXES:
        raise RefusedArtifact(
            f"{id!r} does not end as a format that is read ({', '.join(SUFFIXES)}); the id says what the file is",
            param="id",
        )


def check_id(id: str) -> None:  # noqa: A002
    """Raises InvalidRequest for what cannot be the id of a document."""
    parts = id.split("/")
    if not id.isprintable() or len(id) > _LONGEST_ID or "" in parts or "." in parts or ".." in parts:
        raise InvalidRequest(
            f"a document's id is up to {_LONGEST_ID} printable characters, like manuals/pump.pdf, without empty parts, "
            "'.' or '..'",
            param="id",
        )


def read_upload(path: Path, id: str, title: str | None = None, metadata: Metadata | None = None) -> Upload:  # noqa: A002
    """The file at `path` as the upload `id`. `title` and `metadata` stand in for the file's own.

    Raises RefusedArtifact if it holds no document, InvalidRequest for a title or metadata of several.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with Reader() as reader:
        items = reader.read(path, id)
    problems = tuple(item for item in items if isinstance(item, Problem))
    documents = tuple(item for item in items if isinstance(item, Document))
    if not documents:
        raise RefusedArtifact(f"{id}: {problems[0].reason if problems else 'it holds no document'}", param="id")
    if len(documents) == 1:
        one = documents[0]
        own = replace(one, title=title or one.title, metadata={**one.metadata, **(metadata or {})})
        return Upload(id, sha256, (_checked(own),), problems)
    if title or metadata:
        raise InvalidRequest("title and metadata are those of one document, and this file holds several")
    return Upload(id, sha256, documents, problems)


def text_upload(document: Document) -> Upload:
    """A document that is given as text. Raises RefusedArtifact for what no file could hold either."""
    document = _checked(replace(document, text=document.text.replace("\r\n", "\n").replace("\r", "\n")))
    return Upload(document.id, hashlib.sha256(document.text.encode()).hexdigest(), (document,))


def _checked(document: Document) -> Document:
    try:
        return checked(document)
    except RefusedArtifact as error:
        raise RefusedArtifact(f"{ascii(document.id)[1:-1]}: {error.message}", param="id") from error


def store_uploads(documents: StoredDocuments, index: str, tenant: str, author: str, uploads: Sequence[Upload]) -> Put:
    """Store all of them. Raises RefusedArtifact, and changes nothing, if others have all ids of one of them."""
    read = [(Source(UPLOAD + each.id, each.sha256, READER, each.problems), each.documents) for each in uploads]
    return documents.put(index, tenant, read, author=author, whole=True)
