"""The database: SQLite in WAL mode through SQLAlchemy, with numbered, append-only migrations.

Write transactions begin with BEGIN IMMEDIATE, so two writers queue at the start instead of failing in the middle.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from ragtune.errors import InvalidRequest, RagtuneError, StorageFull

_BUSY_MS = 10_000


def _resources_and_versions(connection: Connection) -> None:
    connection.execute(
        text(
            """CREATE TABLE resource (
                   kind TEXT NOT NULL, name TEXT NOT NULL, current INTEGER, last INTEGER NOT NULL DEFAULT 0,
                   PRIMARY KEY (kind, name))"""
        )
    )
    connection.execute(
        text(
            """CREATE TABLE version (
                   kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, folder TEXT NOT NULL,
                   manifest TEXT NOT NULL, created TEXT NOT NULL,
                   PRIMARY KEY (kind, name, number))"""
        )
    )


def _keys_and_audit(connection: Connection) -> None:
    connection.execute(
        text(
            """CREATE TABLE api_key (
                   id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, secret_sha256 TEXT NOT NULL, scopes TEXT NOT NULL,
                   tenant TEXT NOT NULL, created TEXT NOT NULL, revoked TEXT)"""
        )
    )
    connection.execute(text("CREATE UNIQUE INDEX api_key_in_use ON api_key (name) WHERE revoked IS NULL"))
    connection.execute(
        text(
            """CREATE TABLE audit (
                   number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, who TEXT, key TEXT, tenant TEXT,
                   method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER, request_id TEXT)"""
        )
    )
    for change in ("UPDATE", "DELETE"):
        connection.execute(
            text(
                f"""CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit
                    BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END"""
            )
        )


def _pointers(connection: Connection) -> None:
    """Every name's pointer gets a history. Until now only publishing moved it, so its versions are that history.

    `resource` is made anew, because SQLite drops columns only since 3.35.
    """
    for statement in (
        """CREATE TABLE move (
               seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL,
               target TEXT NOT NULL, author TEXT NOT NULL, moved TEXT NOT NULL)""",
        "CREATE INDEX move_by_alias ON move (kind, name, alias, seq)",
        """INSERT INTO move (kind, name, alias, target, author, moved)
               SELECT v.kind, v.name, '', CAST(v.number AS TEXT), '', v.created
               FROM version v JOIN resource r ON r.kind = v.kind AND r.name = v.name AND v.number <= r.current
               ORDER BY v.kind, v.name, v.number""",
        "ALTER TABLE version ADD COLUMN author TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE counter (
               kind TEXT NOT NULL, name TEXT NOT NULL, last INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, name))""",
        "INSERT INTO counter (kind, name, last) SELECT kind, name, last FROM resource",
        "DROP TABLE resource",
        "ALTER TABLE counter RENAME TO resource",
    ):
        connection.execute(text(statement))


def _pinned(connection: Connection) -> None:
    connection.execute(
        text("CREATE TABLE pinned (kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID")
    )


def _jobs(connection: Connection) -> None:
    for statement in (
        """CREATE TABLE job (
               number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
               resource TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL, author TEXT NOT NULL,
               tenant TEXT NOT NULL, created TEXT NOT NULL, started TEXT, finished TEXT, progress TEXT, result TEXT,
               error TEXT, cancel_requested TEXT, resumes TEXT)""",
        "CREATE UNIQUE INDEX job_at_work ON job (resource) WHERE state IN ('queued', 'running')",
        """CREATE TABLE job_event (
               job TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL,
               PRIMARY KEY (job, seq)) WITHOUT ROWID""",
    ):
        connection.execute(text(statement))


def _documents(connection: Connection) -> None:
    for statement in (
        """CREATE TABLE document (
               revision INTEGER PRIMARY KEY AUTOINCREMENT, index_name TEXT NOT NULL, tenant TEXT NOT NULL,
               id TEXT NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL, text_sha256 TEXT NOT NULL,
               characters INTEGER NOT NULL, markdown INTEGER NOT NULL, metadata TEXT NOT NULL, added TEXT NOT NULL,
               author TEXT NOT NULL, UNIQUE (index_name, tenant, id))""",
        "CREATE INDEX document_by_source ON document (index_name, tenant, source)",
        "CREATE INDEX document_by_text ON document (text_sha256)",
        "CREATE TABLE document_text (sha256 TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL)",
        """CREATE TABLE source (
               index_name TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
               reader INTEGER NOT NULL, problems TEXT NOT NULL, PRIMARY KEY (index_name, tenant, name))""",
        """CREATE TABLE hidden (
               seq INTEGER PRIMARY KEY AUTOINCREMENT, index_name TEXT NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL,
               until INTEGER NOT NULL, UNIQUE (index_name, tenant, id))""",
    ):
        connection.execute(text(statement))


def _feedback(connection: Connection) -> None:
    for statement in (
        """CREATE TABLE feedback (
               number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
               given TEXT NOT NULL, author TEXT NOT NULL, score REAL NOT NULL, comment TEXT NOT NULL, answer TEXT,
               exchange TEXT NOT NULL)""",
        "CREATE INDEX feedback_by_tenant ON feedback (tenant, number)",
    ):
        connection.execute(text(statement))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (  # append only
    _resources_and_versions,
    _keys_and_audit,
    _pointers,
    _pinned,
    _jobs,
    _documents,
    _feedback,
)


class Database:
    """One SQLite file. Cheap to open; any number of processes may have it open at once."""

    def __init__(self, path: Path) -> None:
        """Open `path`, made and migrated where needed. Raises InvalidRequest if the file or its folder is unusable."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # No reader may wait for a connection that writers hold while they queue: the pool has no upper limit. To
            # do without a pool would cost a millisecond a read instead of a tenth, and nine instead of one a write.
            self._engine = create_engine(
                f"sqlite:///{path}", max_overflow=-1, connect_args={"timeout": _BUSY_MS / 1000}
            )
            _configure(self._engine)
            self._migrate()
        except (OSError, DBAPIError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error.strerror
            raise InvalidRequest(
                f"cannot use {path}: {reason}; set RAGTUNE_HOME to a folder you can write to", param="home"
            ) from error

    @contextmanager
    def write(self, *, lasting: bool = True) -> Iterator[Connection]:
        """A write transaction: commits at the end, rolls back on any error. Raises StorageFull on a full disk.

        What need not last may be lost with the machine's power, never with this process: it takes a third of a
        millisecond instead of four.
        """
        try:
            with self._engine.connect() as connection:
                connection.execute(text(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}"))
                connection.execute(text("BEGIN IMMEDIATE"))
                yield connection
                connection.commit()
        except Exception as error:
            if "disk is full" in str(error) or "No space left" in str(error):
                raise StorageFull(f"the disk under {self.path.parent} is full") from error
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view."""
        with self._engine.connect() as connection:
            connection.execute(text("BEGIN"))
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.read() as connection:
            if _schema(connection) == len(MIGRATIONS):
                return  # the usual case, and no reason to wait for a writer
        with self.write() as connection:
            done = _schema(connection)
            if done > len(MIGRATIONS):
                raise RagtuneError(f"{self.path} was written by a newer ragtune; upgrade, or use another RAGTUNE_HOME")
            for number, migrate in enumerate(MIGRATIONS[done:], start=done + 1):
                migrate(connection)
                connection.execute(text(f"PRAGMA user_version = {number}"))


def _schema(connection: Connection) -> int:
    return int(connection.execute(text("PRAGMA user_version")).scalar_one())


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
