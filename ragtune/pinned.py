"""Which names stay in memory, whether or not anybody asks for them: each by its current version."""

from sqlalchemy import Connection, text

from ragtune.store import Database


class Pinned:
    """The pinned names of one kind of resource."""

    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        self._kind = kind

    def add(self, name: str) -> None:
        """Pin a name; again is no change, and neither is one that has no version (any more)."""
        query = """INSERT OR IGNORE INTO pinned (kind, name)
                   SELECT :kind, :name WHERE EXISTS (SELECT 1 FROM version WHERE kind = :kind AND name = :name)"""
        with self._database.write() as connection:
            connection.execute(text(query), {"kind": self._kind, "name": name})

    def remove(self, name: str) -> None:
        """Unpin a name; one that is not pinned is no change."""
        with self._database.write() as connection:
            forget(connection, self._kind, name)

    def names(self) -> list[str]:
        """All of them, sorted."""
        with self._database.read() as connection:
            query = text("SELECT name FROM pinned WHERE kind = :kind ORDER BY name")
            return list(connection.execute(query, {"kind": self._kind}).scalars())


def forget(connection: Connection, kind: str, name: str) -> None:
    """Unpin a name inside a transaction that the caller has opened, as the one that deletes it."""
    row = {"kind": kind, "name": name}
    connection.execute(text("DELETE FROM pinned WHERE kind = :kind AND name = :name"), row)
