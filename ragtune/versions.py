"""Immutable versions behind a name: the one mechanism for indexes, adapters and templates.

A version is a folder plus a row. It is built in a staging folder, its manifest is written last, the folder is
renamed into place, and one transaction adds the row and flips the name's pointer. The row is the truth: a folder
without a row is an orphan, left by a crash, and is collected. Numbers are never used twice, not even after a delete.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection, text

from ragtune.errors import StorageFull, UnknownName
from ragtune.mode import Ref, check_name
from ragtune.store import Database

MANIFEST = "manifest.json"
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Version(Generic[M]):
    """One immutable version of a named resource."""

    kind: str
    name: str
    number: int
    folder: Path
    manifest: M
    created: str
    current: bool

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class Versions(Generic[M]):
    """All versions of one kind of resource under one home. Safe to use from several processes."""

    def __init__(self, home: Path, database: Database, kind: str, manifest: type[M]) -> None:
        self._root = home / "store" / kind
        self._staged = self._root / ".staging"
        self._database = database
        self._kind = kind
        self._manifest = manifest

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh folder to build a version in; removed at the end unless `publish` has taken it."""
        folder = self._staged / f"{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"the disk under {self._root} is full; nothing was published") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def is_staged(self, folder: Path) -> bool:
        """Whether `folder`, with all links followed, is one that `staging` gave, or inside one."""
        return folder.parent.is_relative_to(self._staged.resolve())

    def publish(self, name: str, staged: Path, manifest: M) -> Version[M]:
        """Make `staged` the current version of `name`. On any error nothing is published and no version's folder is
        left over; raises StorageFull on a full disk."""
        check_name(name, self._kind)
        document = manifest.model_dump_json(indent=2)
        (staged / MANIFEST).write_text(document + "\n", encoding="utf-8")
        _flush(staged)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self._database.write() as connection:
                number = self._next_number(connection, name)
                folder = self._root / name / str(number)
                shutil.rmtree(folder, ignore_errors=True)  # an orphan of a crash between rename and commit
                folder.parent.mkdir(parents=True, exist_ok=True)
                staged.rename(folder)
                _flush_entry(folder.parent)
                row = {"kind": self._kind, "name": name, "number": number, "folder": f"{name}/{number}"}
                self._insert(connection, row | {"manifest": document, "created": created})
        except BaseException:
            with suppress(Exception):  # the first error is the one to report; what stays is collected at start
                self.collect_orphans()
            raise
        return Version(self._kind, name, number, folder, manifest, created, True)

    def _next_number(self, connection: Connection, name: str) -> int:
        key = {"kind": self._kind, "name": name}
        connection.execute(text("INSERT OR IGNORE INTO resource (kind, name) VALUES (:kind, :name)"), key)
        last = connection.execute(text("SELECT last FROM resource WHERE kind = :kind AND name = :name"), key)
        return int(last.scalar_one()) + 1

    def _insert(self, connection: Connection, row: dict[str, object]) -> None:
        connection.execute(
            text("INSERT INTO version VALUES (:kind, :name, :number, :folder, :manifest, :created)"), row
        )
        connection.execute(
            text("UPDATE resource SET current = :number, last = :number WHERE kind = :kind AND name = :name"), row
        )

    def resolve(self, ref: Ref, *, param: str | None = None) -> Version[M]:
        """The version `ref` names now. Raises UnknownName, with near matches."""
        versions = self.of(ref.name, param=param)
        if ref.version is None:
            return next(version for version in versions if version.current)
        for version in versions:
            if str(version.number) == ref.version.lstrip("0"):
                return version
        raise UnknownName.among(
            f"version of {self._kind} {ref.name!r}:", ref.version, [str(v.number) for v in versions], param=param
        )

    def names(self) -> list[str]:
        """Names that have a current version, sorted."""
        return sorted(version.name for version in self.current())

    def current(self) -> list[Version[M]]:
        """The current version of every name, sorted by name."""
        return self._select("AND v.number = r.current")

    def of(self, name: str, *, param: str | None = None) -> list[Version[M]]:
        """All versions of `name`, oldest first. Raises UnknownName."""
        versions = self._select("AND v.name = :name", name=name)
        if not versions:
            raise UnknownName.among(self._kind, name, self.names(), param=param)
        return versions

    def delete(self, name: str) -> list[Version[M]]:
        """Remove all versions of `name`: rows first, then folders. Returns the versions removed; raises UnknownName."""
        with self._database.write() as connection:
            gone = self.of(name)  # inside the transaction: a version published meanwhile waits, and stays
            key = {"kind": self._kind, "name": name}
            connection.execute(text("DELETE FROM version WHERE kind = :kind AND name = :name"), key)
            connection.execute(text("UPDATE resource SET current = NULL WHERE kind = :kind AND name = :name"), key)
        for version in gone:
            shutil.rmtree(version.folder, ignore_errors=True)
        return gone

    def collect_orphans(self) -> list[Path]:
        """Remove folders no row knows (left by a crash) and staging folders of dead processes; returns them.

        Runs inside a write transaction, so that no folder can be between its rename and its row.
        """
        with self._database.write():
            known = {version.folder for version in self._select("")}
            found = [path for path in self._root.glob("[!.]*/*") if path not in known]
            found += [path for path in self._staged.glob("*") if not _alive(path.name.partition("-")[0])]
            for path in found:
                shutil.rmtree(path, ignore_errors=True)
        return found

    def _select(self, condition: str, **values: Any) -> list[Version[M]]:
        query = f"""SELECT v.name, v.number, v.folder, v.manifest, v.created, v.number = r.current AS current
                    FROM version v JOIN resource r ON r.kind = v.kind AND r.name = v.name
                    WHERE v.kind = :kind {condition} ORDER BY v.name, v.number"""
        with self._database.read() as connection:
            rows = connection.execute(text(query), {"kind": self._kind, **values}).all()
        return [
            Version(
                self._kind,
                row.name,
                row.number,
                self._root / row.folder,
                self._manifest.model_validate(json.loads(row.manifest)),
                row.created,
                bool(row.current),
            )
            for row in rows
        ]


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _flush(folder: Path) -> None:
    """Force the folder's files to disk: a row must never point at content a power cut can still lose."""
    for path in [*folder.rglob("*"), folder]:
        _flush_entry(path)


def _flush_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
