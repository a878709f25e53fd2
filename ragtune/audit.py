"""The audit log: who changed something here, or tried to. Rows are appended; the database refuses every other change.

It holds names, paths and statuses, and never a body or a key.
"""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, text

from ragtune.store import Database

_LONGEST = 512  # characters of a path: anyone may send one, and rows stay
_MOST = 2**63 - 1  # SQLite has no larger number
_COLUMNS = "time, who, key, tenant, method, path, status, request_id"


class Entry(BaseModel):
    """One change, or one that was refused."""

    model_config = ConfigDict(frozen=True)

    number: int | None = Field(default=None, description="counts up; what `before` takes to go further back")
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    who: str | None = Field(description="the key's name, `local` or `cli`; null: no valid key was sent")
    key: str | None = Field(default=None, description="the key's id")
    tenant: str | None = Field(default=None, description="the key's tenant")
    method: str = Field(description="of HTTP, or `CLI`")
    path: str = Field(description="of the URL, or the command")
    status: int | None = Field(default=None, description="the answer's; null for a command, which was done")
    request_id: str | None = None


class AuditLog:
    """The log of one home. Safe to use from several processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, entry: Entry) -> None:
        """Append. On return the row is on the disk; raises StorageFull if there is no room for it."""
        with self._database.write() as connection:
            append(connection, entry)

    def command(self, *words: str) -> None:
        """Append what the command line has just done to this home."""
        self.write(command(*words))

    def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """Up to `limit` entries, newest first: of all, or of those before the one with the number `before`."""
        with self._database.read() as connection:
            query = f"""SELECT number, {_COLUMNS} FROM audit WHERE number < coalesce(:before, number + 1)
                        ORDER BY number DESC LIMIT :limit"""
            key = {"limit": min(limit, _MOST), "before": None if before is None else min(before, _MOST)}
            rows = connection.execute(text(query), key).mappings().all()
        return [Entry.model_validate(dict(row)) for row in rows]


def append(connection: Connection, entry: Entry) -> None:
    """Append inside a transaction that the caller has opened: the change and its row are made together, or neither."""
    columns = ", ".join(f":{name}" for name in _COLUMNS.split(", "))
    row = entry.model_dump() | {"path": entry.path[:_LONGEST]}
    connection.execute(text(f"INSERT INTO audit ({_COLUMNS}) VALUES ({columns})"), row)


def command(*words: str) -> Entry:
    """What the command line does to this home."""
    return Entry(who="cli", method="CLI", path=" ".join(words))
