"""Immutable versions behind a name: the one mechanism for indexes, adapters and templates.

A version is a folder plus a row. It is built in a staging folder, its manifest is written last, the folder is
renamed into place, and one transaction adds the row and flips the name's pointer. Deleting goes the other way: first
the rows, so that nobody finds it any more, then the folder. The row is the truth: a folder without a row is an orphan,
left by a crash, and is collected. Numbers are never used twice, not even after a delete.

A name means its current version, `name@prod` what the alias points to; both remember what they meant (`pointers.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection, text

from ragtune import pinned
from ragtune.errors import IncompatibleParts, InvalidRequest, UnknownName
from ragtune.folders import STAGING, Folders, discard, flush
from ragtune.mode import Ref, check_alias, check_name
from ragtune.pointers import ITSELF, Pointers
from ragtune.store import Database

MANIFEST = "manifest.json"
_CURRENT = """(SELECT CAST(m.target AS INTEGER) FROM move m
               WHERE m.kind = v.kind AND m.name = v.name AND m.alias = '' ORDER BY m.seq DESC LIMIT 1)"""
_DIGITS = 19  # what SQLite takes as an integer has fewer
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Version(Generic[M]):
    """One immutable version of a named resource. What points to it, `current` and `aliases`, is of the moment."""

    kind: str
    name: str
    number: int
    folder: Path
    manifest: M
    created: str
    current: bool
    author: str = ""
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class Versions(Generic[M]):
    """All versions of one kind of resource under one home. Safe to use from several processes.

    No version is published under a name that a pointer of the kind `apart_from` has: the two share their names.
    """

    def __init__(
        self, home: Path, database: Database, kind: str, manifest: type[M], *, apart_from: str | None = None
    ) -> None:
        self._folders = Folders(home / "store" / kind)
        self._database = database
        self._kind = kind
        self._manifest = manifest
        self._pointers = Pointers(kind)
        self._apart_from = apart_from

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh folder to build a version in; removed at the end unless `publish` took it. Raises StorageFull."""
        with self._folders.staging() as folder:
            yield folder

    def is_staged(self, folder: Path) -> bool:
        """Whether `folder`, with all links followed, is one that `staging` gave, or inside one."""
        return folder.parent.is_relative_to((self._folders.root / STAGING).resolve())

    def publish(
        self, name: str, staged: Path, manifest: M, *, author: str = "", same: Callable[[M], bool] | None = None
    ) -> Version[M]:
        """Make `staged` the current version of `name`. On any error nothing is published and no version's folder is
        left over; raises StorageFull on a full disk, InvalidRequest for a name that cannot be taken.

        Where `name` has a version whose manifest is the `same`, nothing is published: that one becomes current again.
        """
        document = manifest.model_dump_json(indent=2)
        (staged / MANIFEST).write_text(document + "\n", encoding="utf-8")
        flush(staged)
        folder = None
        try:
            with self._database.write() as connection:
                self._check_free(connection, name)
                if same and (existing := self._find(connection, name, same)):
                    return self._point(connection, existing, ITSELF, author)
                number = self._next_number(connection, name)
                folder = self._folders.root / name / str(number)
                self._folders.settle(staged, folder)
                created = datetime.now(UTC).isoformat(timespec="seconds")
                version = Version(self._kind, name, number, folder, manifest, created, False, author)
                self._insert(connection, version, document)
                return self._point(connection, version, ITSELF, author)
        except BaseException:
            with suppress(Exception):  # the first error is the one to report; what stays is collected at start
                self._collect([folder] if folder else [])
            raise

    def check_free(self, name: str) -> None:
        """Raises InvalidRequest if nothing can be published as `name`: worth asking before a long build."""
        with self._database.read() as connection:
            self._check_free(connection, name)

    def find(self, name: str, same: Callable[[M], bool]) -> Version[M] | None:
        """The newest version of `name` whose manifest is the `same`, or None."""
        with self._database.read() as connection:
            return self._find(connection, name, same)

    def resolve(self, ref: Ref, *, param: str | None = None) -> Version[M]:
        """The version that a name, `name@2` or `name@prod` means now. Raises UnknownName, with near matches."""
        with self._database.read() as connection:
            return self._resolve(connection, ref, param)

    def names(self) -> list[str]:
        """All names, sorted."""
        with self._database.read() as connection:
            return self._names(connection)

    def current(self) -> list[Version[M]]:
        """The current version of every name, sorted by name."""
        with self._database.read() as connection:
            return self._select(connection, f"AND v.number = {_CURRENT}")

    def of(self, name: str, *, param: str | None = None) -> list[Version[M]]:
        """All versions of `name`, oldest first. Raises UnknownName."""
        with self._database.read() as connection:
            return self._of(connection, name, param)

    def aliases(self, name: str) -> dict[str, Version[M]]:
        """Which version each alias of `name` means, sorted by alias. Raises UnknownName."""
        found = {alias: version for version in self.of(name) for alias in version.aliases}
        return dict(sorted(found.items()))

    def set_alias(self, name: str, alias: str, number: int | None = None, *, author: str = "") -> Version[M]:
        """Let `name@alias` mean version `number`, or the one that is current now, until it is set again.

        Raises UnknownName for a name or number there is not, InvalidRequest for an illegal alias.
        """
        check_alias(alias)
        with self._database.write() as connection:
            version = self._resolve(connection, Ref(name, None if number is None else str(number)))
            return self._point(connection, version, alias, author)

    def remove_alias(self, name: str, alias: str) -> Version[M]:
        """Take an alias away, with what it meant before; returns what it meant. Raises UnknownName."""
        check_alias(alias)
        with self._database.write() as connection:
            version = self._resolve(connection, Ref(name, alias))
            self._pointers.drop(connection, name, alias)
            return version

    def rollback(self, name: str, alias: str = ITSELF) -> Version[M]:
        """Let a name, or an alias of it, mean again what it meant before, and return that; again goes further back.

        Raises UnknownName, and IncompatibleParts if it meant nothing before that still exists.
        """
        with self._database.write() as connection:
            now = self._resolve(connection, Ref(name, alias or None))
            existing = {str(version.number) for version in self._of(connection, name)}
            former = self._pointers.back(connection, name, alias, existing.__contains__)
            if former is None:
                raise IncompatibleParts(
                    f"there is nothing to go back to: {Ref(name, alias or None)} means {now}, and before that no "
                    "version that still exists"
                )
            return self._resolve(connection, Ref(name, former.target))

    def delete(self, name: str) -> list[Version[M]]:
        """Remove all versions of `name` at once: for whoever knows that nobody uses them. Raises UnknownName."""
        gone = self.forget(Ref(name))
        for version in gone:
            self.discard(version)
        return gone

    def forget(self, ref: Ref) -> list[Version[M]]:
        """The first half of deleting, all versions of a name or just `name@2`: nobody finds them any more, but their
        folders are still there for whoever has. Its aliases and its pin go with the name. Returns the versions, each to
        be discarded.

        Raises UnknownName, and IncompatibleParts for a single version that its name or an alias means.
        """
        with self._database.write() as connection:
            if ref.version is None:
                gone = self._of(connection, ref.name)
                self._pointers.drop(connection, ref.name)
                pinned.forget(connection, self._kind, ref.name)
            else:
                gone = [self._resolve(connection, ref)]
                _check_unused(gone[0])
                self._pointers.drop(connection, ref.name, target=str(gone[0].number))
            for version in gone:
                connection.execute(
                    text("DELETE FROM version WHERE kind = :kind AND name = :name AND number = :number"),
                    {"kind": self._kind, "name": version.name, "number": version.number},
                )
            return gone

    def discard(self, version: Version[M]) -> None:
        """The second half of deleting: remove the folder of a version that was forgotten."""
        discard(version.folder)

    def collect_orphans(self) -> list[Path]:
        """Remove what a crash has left, folders that no row knows and abandoned staging folders; returns them.

        Only for whoever has the home to itself, as a starting server does: a running one may still be using versions
        that it has forgotten.
        """
        return self._collect(self._folders.settled()) + self.collect_staging()

    def collect_staging(self) -> list[Path]:
        """Remove the staging folders that nobody builds in any more; returns them."""
        return self._folders.discard_abandoned()

    def _collect(self, folders: Iterable[Path]) -> list[Path]:
        """Inside a write transaction, so that no folder can be between its rename and its row."""
        with self._database.write() as connection:
            rows = connection.execute(text("SELECT folder FROM version WHERE kind = :kind"), {"kind": self._kind})
            known = {self._folders.root / folder for folder in rows.scalars()}
            found = [path for path in folders if path not in known]
            for path in found:
                discard(path)
        return found

    def _check_free(self, connection: Connection, name: str) -> None:
        check_name(name, self._kind)
        if self._apart_from and (taken := Pointers(self._apart_from).find(connection, name)):
            raise InvalidRequest(
                f"{name!r} is an alias for the {self._apart_from} {taken.target}; choose another name, or remove the "
                "alias first",
                param=self._kind,
            )

    def _next_number(self, connection: Connection, name: str) -> int:
        key = {"kind": self._kind, "name": name}
        connection.execute(text("INSERT OR IGNORE INTO resource (kind, name) VALUES (:kind, :name)"), key)
        last = connection.execute(text("SELECT last FROM resource WHERE kind = :kind AND name = :name"), key)
        return int(last.scalar_one()) + 1

    def _insert(self, connection: Connection, version: Version[M], document: str) -> None:
        row = {
            "kind": self._kind,
            "name": version.name,
            "number": version.number,
            "folder": f"{version.name}/{version.number}",
            "manifest": document,
            "created": version.created,
            "author": version.author,
        }
        connection.execute(
            text("""INSERT INTO version (kind, name, number, folder, manifest, created, author)
                    VALUES (:kind, :name, :number, :folder, :manifest, :created, :author)"""),
            row,
        )
        connection.execute(text("UPDATE resource SET last = :number WHERE kind = :kind AND name = :name"), row)

    def _point(self, connection: Connection, version: Version[M], alias: str, author: str) -> Version[M]:
        self._pointers.move(connection, version.name, alias, str(version.number), author)
        return self._resolve(connection, Ref(version.name, str(version.number)))

    def _find(self, connection: Connection, name: str, same: Callable[[M], bool]) -> Version[M] | None:
        versions = reversed(self._select(connection, "", name))
        return next((version for version in versions if same(version.manifest)), None)

    def _resolve(self, connection: Connection, ref: Ref, param: str | None = None) -> Version[M]:
        asked = ref.version or ITSELF
        meant = self._pointers.find(connection, ref.name, asked)
        number = meant.target if meant else asked
        if (
            number.isdigit()
            and len(number) < _DIGITS
            and (found := self._select(connection, "AND v.number = :number", ref.name, int(number)))
        ):
            return found[0]
        versions = self._of(connection, ref.name, param)
        known = [*(str(version.number) for version in versions), *(a for version in versions for a in version.aliases)]
        raise UnknownName.among(f"version of {self._kind} {ref.name!r}:", asked, known, param=param)

    def _of(self, connection: Connection, name: str, param: str | None = None) -> list[Version[M]]:
        versions = self._select(connection, "", name)
        if not versions:
            raise UnknownName.among(self._kind, name, self._names(connection), param=param)
        return versions

    def _names(self, connection: Connection) -> list[str]:
        query = text("SELECT DISTINCT name FROM version WHERE kind = :kind ORDER BY name")
        return list(connection.execute(query, {"kind": self._kind}).scalars())

    def _select(
        self, connection: Connection, condition: str, name: str | None = None, number: int | None = None
    ) -> list[Version[M]]:
        of_name = "" if name is None else "AND v.name = :name"
        query = f"""SELECT v.name, v.number, v.folder, v.manifest, v.created, v.author FROM version v
                    WHERE v.kind = :kind {of_name} {condition} ORDER BY v.name, v.number"""
        rows = connection.execute(text(query), {"kind": self._kind, "name": name, "number": number}).all()
        meant = {(move.name, move.alias): move.target for move in self._pointers.all(connection, name)}
        return [
            Version(
                self._kind,
                row.name,
                row.number,
                self._folders.root / row.folder,
                self._manifest.model_validate_json(row.manifest),
                row.created,
                meant.get((row.name, ITSELF)) == str(row.number),
                row.author,
                tuple(alias for (of, alias), to in meant.items() if alias and (of, to) == (row.name, str(row.number))),
            )
            for row in rows
        ]


def _check_unused(version: Version[M]) -> None:
    meaning = [*([version.name] if version.current else []), *(f"{version.name}@{a}" for a in version.aliases)]
    if meaning:
        raise IncompatibleParts(
            f"{version} is what {' and '.join(meaning)} {'mean' if len(meaning) > 1 else 'means'}: let that mean "
            f"another version first, or delete {version.name} as a whole"
        )
