"""A document over HTTP: the file in the body, read as a build reads a file in a folder, and stored."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from starlette.requests import Request

from indexer.documents import Document, Metadata, Problem
from indexer.reading import READER, SUFFIXES, Reader
from indexer.stored_documents import UPLOAD, Change, Source
from ragtune.errors import InvalidRequest, RefusedArtifact
from service.aside import Aside
from service.intake import write_body
from service.parts import Parts

_READING = Aside(1, "reading")
_LONGEST_ID = 512


@dataclass(frozen=True)
class Stored:
    """What an upload changed, by document, and what of it could not be read."""

    changes: dict[str, Change]
    problems: list[Problem]


async def store_file(
    request: Request,
    index: str,
    tenant: str,
    author: str,
    id: str,  # noqa: A002
    title: str | None,
    metadata: Metadata,
    parts: Parts,
) -> Stored:
    """Store the documents of the file in the body. Raises RefusedArtifact, and changes nothing, if it holds none."""
    check_id(id)
    suffix = PurePosixPath(id).suffix.lower()
    if suffix not in SUFFIXES:
        raise RefusedArtifact(
            f"{id!r} does not end as a format that is read ({', '.join(SUFFIXES)}); the id says what the file is",
            param="id",
        )
    with parts.indexes.versions.staging() as staged:
        path = staged / f"upload{suffix}"
        await write_body(request, path)
        loop = asyncio.get_running_loop()
        sha256, items = await loop.run_in_executor(_READING, _read, path, id)
    problems = [item for item in items if isinstance(item, Problem)]
    documents = [item for item in items if isinstance(item, Document)]
    if not documents:
        first = problems[0].reason if problems else "it holds no document"
        raise RefusedArtifact(f"{id}: {first}", param="id")
    if len(documents) == 1:
        one = documents[0]
        documents = [replace(one, title=title or one.title, metadata={**one.metadata, **metadata})]
    elif title or metadata:
        raise InvalidRequest("title and metadata are those of one document, and this file holds several")
    return await store(index, tenant, author, {id: (sha256, documents)}, problems, parts)


async def store(
    index: str,
    tenant: str,
    author: str,
    files: dict[str, tuple[str, list[Document]]],
    problems: list[Problem],
    parts: Parts,
) -> Stored:
    """Store documents under the names of the uploads that brought them.

    Raises RefusedArtifact, and changes nothing, if other files have all ids of one of them.
    """
    known, told = parts.indexes.documents, list(problems)
    for name, (_, documents) in files.items():
        taken = await asyncio.to_thread(known.taken, index, tenant, UPLOAD + name, [each.id for each in documents])
        if len(taken) == len(documents):
            raise RefusedArtifact(_taken(*taken.popitem()), param="id")
        told += [Problem(source=each, reason=f"{by} has this id already") for each, by in taken.items()]
    read = [
        (Source(UPLOAD + name, sha256, READER, tuple(problems)), documents)
        for name, (sha256, documents) in files.items()
    ]
    changes = await asyncio.to_thread(lambda: known.put(index, tenant, read, author=author))
    return Stored(changes, told)


def _taken(id: str, by: str) -> str:  # noqa: A002
    return (
        f"a document {id!r} is here already, from {by}: change it there and build, take another id, or delete it first"
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


def _read(path: Path, name: str) -> tuple[str, list[Document | Problem]]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with Reader() as reader:
        return sha256, reader.read(path, name)
