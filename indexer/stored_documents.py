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
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.store import Database

Change = Literal["added", "changed", "unchanged"]
_MOST_NEAR = 2000  # ids that an unknown one is compared with
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
class Put:
    """What storing changed, by document, and what was not stored."""

    changes: dict[str, Change]
    problems: list[Problem]


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
        self,
        index: str,
        tenant: str,
        read: Sequence[tuple[Source, Sequence[Document]]],
        *,
        author: str,
        live: Collection[str] | None = None,
        whole: bool = False,
    ) -> Put:
        """Let each source hold just these documents.

        An id that another source of this index and tenant has stays that one's, and becomes a problem of this source,
        which is read again the next time. Where `live` names the files there are, a file that is not among them has no
        ids any more. What a source no longer holds leaves the index, but stays visible in versions that have it.
        With `whole`, raises RefusedArtifact, and changes nothing, if all ids of a source are another's.
        """
        changes: dict[str, Change] = {}
        first: dict[str, str] = {}  # the source of each
        problems: list[Problem] = []
        with self._database.write() as connection:
            changing = _Changing(connection, index, tenant, author)
            for source, documents in read:
                changing.forget_others(source.name, {document.id for document in documents})
            for source, documents in read:
                told, taken = list(source.problems), 0
                known = _known(connection, index, tenant, [document.id for document in documents])
                for document in documents:
                    owner = known[document.id].source if document.id in known else source.name
                    gone = live is not None and not is_upload(owner) and owner not in live
                    if document.id in changes:
                        taken += first[document.id] != source.name
                        told.append(Problem(source=document.id, reason="a second document with this id"))
                    elif owner != source.name and not gone:
                        taken += 1
                        told.append(Problem(source=document.id, reason=f"{owner} has this id already"))
                    else:
                        changes[document.id] = changing.put(source.name, document, known.get(document.id))
                        first[document.id] = source.name
                if whole and documents and taken == len(documents):
                    raise RefusedArtifact(_taken(documents[0].id, told[-1].reason), param="id")
                _put_source(connection, index, tenant, source, told, again=taken > 0)
                problems += told
            changing.finish()
        return Put(changes, problems)

    def sources(self, index: str, tenant: str) -> dict[str, tuple[str, int]]:
        """The hash, and the reader's version, of each source of a tenant."""
        with self._database.read() as connection:
            rows = connection.execute(
                text("SELECT name, sha256, reader FROM source WHERE index_name = :index AND tenant = :tenant"),
                {"index": index, "tenant": tenant},
            )
            return {row.name: (row.sha256, row.reader) for row in rows}

    def keep(self, index: str, tenant: str, sources: Collection[str]) -> int:
        """Let the documents of all other sources of this tenant, but for uploads, leave the index; returns how many.

        Versions that have them keep them.
        """
        with self._database.write() as connection:
            changing = _Changing(connection, index, tenant, "")
            found = _select(connection, "AND tenant = :tenant", {"index": index, "tenant": tenant})
            leaving = [d for d in found if d.source not in sources and not is_upload(d.source)]
            for document in leaving:
                changing.remove(document)
            gone = [n for n in _names(connection, index, tenant) if n not in sources and not is_upload(n)]
            _forget_sources(connection, index, tenant, gone)
            changing.finish()
        return len(leaving)

    def delete(self, index: str, tenant: str, id: str) -> bool:  # noqa: A002
        """Delete a document: no search of any version shows again what was stored under this id until now.

        It need not be stored any more: a version may still have what a later build left out, and a build that has begun
        may still publish it. Returns whether it was stored.
        """
        with self._database.write() as connection:
            changing = _Changing(connection, index, tenant, "")
            stored = _known(connection, index, tenant, [id])
            for document in stored.values():
                changing.remove(document)
                rest = {"index": index, "tenant": tenant, "source": document.source}
                if is_upload(document.source) and not _select(
                    connection, "AND tenant = :tenant AND source = :source", rest, 1
                ):
                    _forget_sources(connection, index, tenant, [document.source])
            _hide(connection, index, tenant, [id])
            changing.finish()
        return bool(stored)

    def hide(self, index: str, tenant: str, ids: Collection[str]) -> int:
        """Hide in every version what was stored until now under those of `ids` that are not stored now; how many."""
        with self._database.write() as connection:
            absent = sorted(set(ids) - _known(connection, index, tenant, list(ids)).keys())
            _hide(connection, index, tenant, absent)
        return len(absent)

    def drop(self, index: str) -> None:
        """Forget all documents of an index. What was hidden stays so: somebody may still search a version of it."""
        with self._database.write() as connection:
            for table in ("document", "source"):
                connection.execute(text(f"DELETE FROM {table} WHERE index_name = :index"), {"index": index})
            connection.execute(text("DELETE FROM document_text WHERE sha256 NOT IN (SELECT text_sha256 FROM document)"))

    def get(self, index: str, tenant: str, id: str) -> StoredDocument:  # noqa: A002
        """One document. Raises UnknownName."""
        with self._database.read() as connection:
            return _get(connection, index, tenant, id)

    def indexes(self) -> list[str]:
        """The names of all indexes that have documents, sorted."""
        with self._database.read() as connection:
            return list(connection.execute(text("SELECT DISTINCT index_name FROM document ORDER BY 1")).scalars())

    def page(self, index: str, tenants: Collection[str] | None, after: Key | None, limit: int) -> list[StoredDocument]:
        """Up to `limit` documents in order of tenant and id, from the one after `after` on; None means all tenants."""
        condition = " AND (tenant, id) > (:tenant, :id)" if after else ""
        if tenants is not None:
            condition += " AND tenant IN (SELECT value FROM json_each(:tenants))"
        key = {"index": index, "tenant": after[0] if after else "", "id": after[1] if after else ""}
        key["tenants"] = json.dumps(sorted(tenants or ()))
        with self._database.read() as connection:
            return _select(connection, condition, key, limit)

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


class _Changing:
    """Changes of one tenant's documents, inside a transaction; `finish` writes the new ones, all in one go."""

    def __init__(self, connection: Connection, index: str, tenant: str, author: str) -> None:
        self._connection = connection
        self._index, self._tenant, self._author = index, tenant, author
        self._added = datetime.now(UTC).isoformat(timespec="seconds")
        self._rows: list[dict[str, object]] = []
        self._texts: list[dict[str, str]] = []
        self._left: list[dict[str, str]] = []

    def put(self, source: str, document: Document, stored: StoredDocument | None) -> Change:
        """Let `document` take the place of what is `stored` under its id."""
        sha256 = hashlib.sha256(document.text.encode()).hexdigest()
        row = {
            "id": document.id,
            "tenant": self._tenant,
            "source": source,
            "title": document.title,
            "text_sha256": sha256,
            "markdown": document.markdown,
            "metadata": document.metadata,
        }
        if stored is not None and all(getattr(stored, name) == value for name, value in row.items()):
            return "unchanged"
        if stored is not None:
            self.remove(stored)
        self._texts.append({"sha256": sha256, "text": document.text})
        self._rows.append(
            row
            | {
                "index": self._index,
                "metadata": json.dumps(document.metadata, sort_keys=True),
                "characters": len(document.text),
                "added": self._added,
                "author": self._author,
            }
        )
        return "added" if stored is None else "changed"

    def remove(self, document: StoredDocument) -> None:
        """Let a document leave the index."""
        self._connection.execute(
            text("DELETE FROM document WHERE revision = :revision"), {"revision": document.revision}
        )
        self._left.append({"sha256": document.text_sha256})

    def forget_others(self, source: str, ids: Collection[str]) -> None:
        """Let what `source` had, but for these ids, leave the index."""
        key = {"index": self._index, "tenant": self._tenant, "source": source}
        for document in _select(self._connection, "AND tenant = :tenant AND source = :source", key):
            if document.id not in ids:
                self.remove(document)

    def finish(self) -> None:
        """Write what was put, and take away the texts that no document has any more."""
        if self._rows:
            self._connection.execute(
                text("INSERT OR IGNORE INTO document_text (sha256, text) VALUES (:sha256, :text)"), self._texts
            )
            self._connection.execute(
                text("""INSERT INTO document (index_name, tenant, id, source, title, text_sha256, characters, markdown,
                                              metadata, added, author)
                        VALUES (:index, :tenant, :id, :source, :title, :text_sha256, :characters, :markdown, :metadata,
                                :added, :author)"""),
                self._rows,
            )
        if self._left:
            self._connection.execute(
                text("""DELETE FROM document_text WHERE sha256 = :sha256
                        AND NOT EXISTS (SELECT 1 FROM document WHERE text_sha256 = :sha256)"""),
                self._left,
            )


def _put_source(
    connection: Connection, index: str, tenant: str, source: Source, problems: list[Problem], *, again: bool
) -> None:
    """With `again`, it counts as changed the next time."""
    connection.execute(
        text("""INSERT OR REPLACE INTO source (index_name, tenant, name, sha256, reader, problems)
                VALUES (:index, :tenant, :name, :sha256, :reader, :problems)"""),
        {
            "index": index,
            "tenant": tenant,
            "name": source.name,
            "sha256": "" if again else source.sha256,
            "reader": source.reader,
            "problems": json.dumps([problem.model_dump() for problem in problems]),
        },
    )


def _known(connection: Connection, index: str, tenant: str, ids: list[str]) -> dict[str, StoredDocument]:
    key = {"index": index, "tenant": tenant, "ids": json.dumps(ids)}
    condition = "AND tenant = :tenant AND id IN (SELECT value FROM json_each(:ids))"
    return {document.id: document for document in _select(connection, condition, key)}


def _hide(connection: Connection, index: str, tenant: str, ids: Sequence[str]) -> None:
    """Everything that had one of these ids until now, whichever revisions those were."""
    for each in ids:
        connection.execute(
            text("""INSERT OR REPLACE INTO hidden (index_name, tenant, id, until)
                    SELECT :index, :tenant, :id, seq FROM sqlite_sequence WHERE name = 'document'"""),
            {"index": index, "tenant": tenant, "id": each},
        )


def _names(connection: Connection, index: str, tenant: str) -> list[str]:
    query = text("SELECT name FROM source WHERE index_name = :index AND tenant = :tenant")
    return list(connection.execute(query, {"index": index, "tenant": tenant}).scalars())


def _forget_sources(connection: Connection, index: str, tenant: str, names: Sequence[str]) -> None:
    for name in names:
        connection.execute(
            text("DELETE FROM source WHERE index_name = :index AND tenant = :tenant AND name = :name"),
            {"index": index, "tenant": tenant, "name": name},
        )


def _taken(id: str, why: str) -> str:  # noqa: A002
    return f"{id!r} cannot be stored: {why}; change it there and build, take another id, or delete it first"


def _get(connection: Connection, index: str, tenant: str, id: str) -> StoredDocument:  # noqa: A002
    key = {"index": index, "tenant": tenant, "id": id}
    found = _select(connection, "AND tenant = :tenant AND id = :id", key)
    if not found:
        query = "SELECT id FROM document WHERE index_name = :index AND tenant = :tenant ORDER BY id LIMIT :most"
        known = connection.execute(text(query), {**key, "most": _MOST_NEAR}).scalars()
        raise UnknownName.among(f"document of index {index!r}:", id, known, param="id")
    return found[0]


def _select(connection: Connection, condition: str, key: Mapping[str, str], limit: int = -1) -> list[StoredDocument]:
    rows = connection.execute(
        text(f"""SELECT revision, id, tenant, title, source, text_sha256, characters, markdown, metadata, added, author
                 FROM document WHERE index_name = :index {condition} ORDER BY tenant, id LIMIT :limit"""),
        {**key, "limit": limit},
    )
    return [
        StoredDocument(**{**row, "markdown": bool(row["markdown"]), "metadata": json.loads(row["metadata"])})
        for row in rows.mappings()
    ]
