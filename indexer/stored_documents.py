"""The documents of every index, as they were read: what its versions are built from.

Each content of a document has a number that is never used again, its `revision`, and passages carry it. Deleting a
document writes down up to which revision its id is hidden: from then on no version shows it, whenever it was built,
and what is uploaded later under the same id is visible again.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection, text

from indexer.documents import Document, Metadata, Problem
from indexer.search import Hidden
from ragtune.errors import UnknownName
from ragtune.store import Database

Change = Literal["added", "changed", "unchanged"]
UPLOAD = "upload:"  # before the name of a source that came over HTTP, and is in no folder
Key = tuple[str, str]  # tenant and id of a document


@dataclass(frozen=True)
class StoredDocument:
    """One document as it stands now, without its text. `source` is the file or upload that it was read from."""

    revision: int
    id: str
    tenant: str
    title: str
    source: str
    text_sha256: str
    characters: int
    markdown: bool
    metadata: Metadata
    added: str
    author: str


@dataclass(frozen=True)
class Source:
    """A file or upload: its content's hash, the version of the reader that read it, and what that could not read."""

    name: str
    sha256: str
    reader: int
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """All documents of one index at one moment, in order, and what could not be read."""

    documents: tuple[StoredDocument, ...]
    problems: tuple[Problem, ...]

    @property
    def revisions(self) -> str:
        """A hash of which content of which document this is: equal here means that there is nothing to build."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(f"{document.revision}\n".encode())
        return digest.hexdigest()

    @property
    def content(self) -> str:
        """A hash of the content alone: equal for the same documents in any home, whenever they were added."""
        digest = hashlib.sha256()
        for d in self.documents:
            digest.update(json.dumps([d.tenant, d.id, d.title, d.text_sha256, d.markdown, d.metadata]).encode())
        return digest.hexdigest()


class StoredDocuments:
    """All documents of one home. Safe to use from several processes; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, index: str, tenant: str, read: Iterable[tuple[Source, Sequence[Document]]], *, author: str
    ) -> dict[str, Change]:
        """Let each source hold just these documents; says of each id what that changed.

        An id that another source of this index and tenant has already stays that one's, and becomes a problem of this
        source. What a source no longer holds leaves the index, but stays visible in versions that have it.
        """
        changes: dict[str, Change] = {}
        with self._database.write() as connection:
            for source, documents in read:
                told = list(source.problems)
                known = _known(connection, index, tenant, [document.id for document in documents])
                for document in documents:
                    stored = known.get(document.id)
                    if stored is not None and stored.source != source.name:
                        told.append(Problem(source=document.id, reason=f"{stored.source} has this id already"))
                    elif document.id in changes:
                        told.append(Problem(source=document.id, reason="a second document with this id"))
                    else:
                        changes[document.id] = _put(connection, index, tenant, source.name, document, author, stored)
                _forget_others(connection, index, tenant, source.name, {document.id for document in documents})
                _put_source(connection, index, tenant, source, told)
            _collect_texts(connection)
        return changes

    def sources(self, index: str, tenant: str) -> dict[str, tuple[str, int]]:
        """The hash, and the reader's version, of each source of a tenant."""
        with self._database.read() as connection:
            rows = connection.execute(
                text("SELECT name, sha256, reader FROM source WHERE index_name = :index AND tenant = :tenant"),
                {"index": index, "tenant": tenant},
            )
            return {row.name: (row.sha256, row.reader) for row in rows}

    def keep(self, index: str, tenant: str, sources: Collection[str], *, hide: bool) -> int:
        """Let the documents of all other sources of this tenant, but for uploads, leave the index; returns how many.

        With `hide` they are deleted, which hides them in every version; without, versions that have them keep them.
        """
        with self._database.write() as connection:
            found = _select(connection, "AND tenant = :tenant", {"index": index, "tenant": tenant})
            leaving = [d for d in found if d.source not in sources and not is_upload(d.source)]
            for document in leaving:
                _remove(connection, document)
                if hide:
                    _hide(connection, index, tenant, document.id)
            key = {"index": index, "tenant": tenant}
            for name in _names(connection, key) - set(sources):
                if not is_upload(name):
                    connection.execute(
                        text("DELETE FROM source WHERE index_name = :index AND tenant = :tenant AND name = :name"),
                        key | {"name": name},
                    )
            _collect_texts(connection)
        return len(leaving)

    def delete(self, index: str, tenant: str, id: str) -> None:  # noqa: A002
        """Delete a document: no search of any version shows again what was stored under this id until now.

        It need not be stored any more: a version may still have what a later build left out.
        """
        with self._database.write() as connection:
            for document in _known(connection, index, tenant, [id]).values():
                _remove(connection, document)
            _hide(connection, index, tenant, id)
            _collect_texts(connection)

    def drop(self, index: str) -> None:
        """Forget all documents of an index, with what was hidden of it: for whoever deletes all its versions."""
        with self._database.write() as connection:
            for table in ("document", "source", "hidden"):
                connection.execute(text(f"DELETE FROM {table} WHERE index_name = :index"), {"index": index})
            _collect_texts(connection)

    def get(self, index: str, tenant: str, id: str) -> StoredDocument:  # noqa: A002
        """One document. Raises UnknownName."""
        with self._database.read() as connection:
            return _get(connection, index, tenant, id)

    def taken(self, index: str, tenant: str, source: str, ids: Iterable[str]) -> dict[str, str]:
        """Which of these ids another source of this index and tenant has, and which one."""
        with self._database.read() as connection:
            known = _known(connection, index, tenant, list(ids))
        return {each: document.source for each, document in known.items() if document.source != source}

    def indexes(self) -> list[str]:
        """The names of all indexes that have documents, sorted."""
        with self._database.read() as connection:
            return list(connection.execute(text("SELECT DISTINCT index_name FROM document ORDER BY 1")).scalars())

    def page(self, index: str, tenants: Collection[str] | None, after: Key | None, limit: int) -> list[StoredDocument]:
        """Up to `limit` documents in order of tenant and id, from the one after `after` on; None means all tenants."""
        condition = "AND (tenant, id) > (:tenant, :id)" if after else ""
        key = {"index": index, "tenant": after[0] if after else "", "id": after[1] if after else ""}
        with self._database.read() as connection:
            found = _select(connection, condition, key)
        return [document for document in found if tenants is None or document.tenant in tenants][:limit]

    def snapshot(self, index: str) -> Snapshot:
        """All documents of an index now."""
        with self._database.read() as connection:
            documents = _select(connection, "", {"index": index})
            rows = connection.execute(
                text("SELECT problems FROM source WHERE index_name = :index ORDER BY tenant, name"), {"index": index}
            )
            problems = [Problem.model_validate(found) for row in rows.scalars() for found in json.loads(row)]
        return Snapshot(tuple(documents), tuple(problems))

    def texts(self, documents: Iterable[StoredDocument]) -> dict[str, str]:
        """The texts of these documents by hash; without those that have left since."""
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for sha256 in {document.text_sha256 for document in documents}:
                query = text("SELECT text FROM document_text WHERE sha256 = :sha256")
                stored = connection.execute(query, {"sha256": sha256}).scalar_one_or_none()
                if stored is not None:
                    found[sha256] = str(stored)
        return found

    def hidden(self, index: str, known: Hidden | None = None) -> Hidden:
        """What is hidden of an index now; `known` itself if nothing has changed since."""
        key = {"index": index}
        with self._database.read() as connection:
            query = text("SELECT coalesce(max(seq), 0) FROM hidden WHERE index_name = :index")
            token = int(connection.execute(query, key).scalar_one())
            if known is not None and known.token == (index, token):
                return known
            rows = connection.execute(text("SELECT tenant, id, until FROM hidden WHERE index_name = :index"), key)
            return Hidden({(row.tenant, row.id): row.until for row in rows}, token=(index, token))


def is_upload(source: str) -> bool:
    """Whether a source came over HTTP."""
    return source.startswith(UPLOAD)


def _put(
    connection: Connection,
    index: str,
    tenant: str,
    source: str,
    document: Document,
    author: str,
    stored: StoredDocument | None,
) -> Change:
    sha256 = hashlib.sha256(document.text.encode()).hexdigest()
    row = {
        "id": document.id,
        "tenant": tenant,
        "source": source,
        "title": document.title,
        "text_sha256": sha256,
        "markdown": document.markdown,
        "metadata": document.metadata,
    }
    if stored is not None and all(getattr(stored, name) == value for name, value in row.items()):
        return "unchanged"
    if stored is not None:
        _remove(connection, stored)
    row |= {
        "index": index,
        "metadata": json.dumps(document.metadata, sort_keys=True),
        "characters": len(document.text),
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
        "author": author,
    }
    connection.execute(
        text("INSERT OR IGNORE INTO document_text (sha256, text) VALUES (:sha256, :text)"),
        {"sha256": sha256, "text": document.text},
    )
    connection.execute(
        text("""INSERT INTO document (index_name, tenant, id, source, title, text_sha256, characters, markdown,
                                      metadata, added, author)
                VALUES (:index, :tenant, :id, :source, :title, :text_sha256, :characters, :markdown, :metadata,
                        :added, :author)"""),
        row,
    )
    return "added" if stored is None else "changed"


def _put_source(connection: Connection, index: str, tenant: str, source: Source, problems: list[Problem]) -> None:
    connection.execute(
        text("""INSERT OR REPLACE INTO source (index_name, tenant, name, sha256, reader, problems)
                VALUES (:index, :tenant, :name, :sha256, :reader, :problems)"""),
        {
            "index": index,
            "tenant": tenant,
            "name": source.name,
            "sha256": source.sha256,
            "reader": source.reader,
            "problems": json.dumps([problem.model_dump() for problem in problems]),
        },
    )


def _known(connection: Connection, index: str, tenant: str, ids: list[str]) -> dict[str, StoredDocument]:
    key = {"index": index, "tenant": tenant, "ids": json.dumps(ids)}
    condition = "AND tenant = :tenant AND id IN (SELECT value FROM json_each(:ids))"
    return {document.id: document for document in _select(connection, condition, key)}


def _forget_others(connection: Connection, index: str, tenant: str, source: str, ids: Collection[str]) -> None:
    key = {"index": index, "tenant": tenant, "source": source}
    for document in _select(connection, "AND tenant = :tenant AND source = :source", key):
        if document.id not in ids:
            _remove(connection, document)


def _remove(connection: Connection, document: StoredDocument) -> None:
    connection.execute(text("DELETE FROM document WHERE revision = :revision"), {"revision": document.revision})


def _hide(connection: Connection, index: str, tenant: str, id: str) -> None:  # noqa: A002
    """Everything that had this id until now, whichever revisions those were."""
    connection.execute(
        text("""INSERT OR REPLACE INTO hidden (index_name, tenant, id, until)
                SELECT :index, :tenant, :id, seq FROM sqlite_sequence WHERE name = 'document'"""),
        {"index": index, "tenant": tenant, "id": id},
    )


def _collect_texts(connection: Connection) -> None:
    connection.execute(
        text("DELETE FROM document_text WHERE sha256 NOT IN (SELECT text_sha256 FROM document)"),
    )


def _names(connection: Connection, key: dict[str, str]) -> set[str]:
    query = text("SELECT name FROM source WHERE index_name = :index AND tenant = :tenant")
    return set(connection.execute(query, key).scalars())


def _get(connection: Connection, index: str, tenant: str, id: str) -> StoredDocument:  # noqa: A002
    key = {"index": index, "tenant": tenant, "id": id}
    found = _select(connection, "AND tenant = :tenant AND id = :id", key)
    if not found:
        known = [document.id for document in _select(connection, "AND tenant = :tenant", key)]
        raise UnknownName.among(f"document of index {index!r}:", id, known, param="id")
    return found[0]


def _select(connection: Connection, condition: str, key: Mapping[str, str]) -> list[StoredDocument]:
    rows = connection.execute(
        text(f"""SELECT revision, id, tenant, title, source, text_sha256, characters, markdown, metadata, added, author
                 FROM document WHERE index_name = :index {condition} ORDER BY tenant, id"""),
        dict(key),
    )
    return [
        StoredDocument(**{**row, "markdown": bool(row["markdown"]), "metadata": json.loads(row["metadata"])})
        for row in rows.mappings()
    ]
