"""What a name or an alias means now, and what it meant before: the one mechanism for everything that points.

Each (kind, name, alias) has a stack of moves, the newest of which says what it means; the alias '' is the name itself.
A flip is one more row and a rollback takes rows away, each in one transaction, so whoever looks meanwhile finds the
former target or the new one and nothing between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

ITSELF = ""  # the alias that is the name itself
_NEWEST = """SELECT name, alias, target, author, moved FROM move WHERE seq IN
             (SELECT max(seq) FROM move WHERE kind = :kind {condition} GROUP BY name, alias) ORDER BY name, alias"""


@dataclass(frozen=True)
class Move:
    """What `name` (or `name@alias`) means since `moved`, and who made it so."""

    name: str
    alias: str
    target: str
    author: str
    moved: str


class Pointers:
    """All pointers of one kind. Every method works inside a transaction that the caller has opened."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def all(self, connection: Connection, name: str | None = None) -> list[Move]:
        """The newest move of every alias, or of those of `name`; sorted."""
        query = _NEWEST.format(condition="" if name is None else "AND name = :name")
        rows = connection.execute(text(query), {"kind": self._kind, "name": name})
        return [Move(*row) for row in rows]

    def find(self, connection: Connection, name: str, alias: str = ITSELF) -> Move | None:
        """What an alias of `name` means now, or None."""
        return next((move for move in self.all(connection, name) if move.alias == alias), None)

    def move(self, connection: Connection, name: str, alias: str, target: str, author: str) -> Move:
        """Let an alias mean `target` from now on. To mean the same again is no move, so that it hides no former one."""
        now = self.find(connection, name, alias)
        if now is not None and now.target == target:
            return now
        move = Move(name, alias, target, author, datetime.now(UTC).isoformat(timespec="seconds"))
        connection.execute(
            text("""INSERT INTO move (kind, name, alias, target, author, moved)
                    VALUES (:kind, :name, :alias, :target, :author, :moved)"""),
            {"kind": self._kind, **move.__dict__},
        )
        return move

    def back(
        self, connection: Connection, name: str, alias: str, usable: Callable[[str], bool] = lambda _: True
    ) -> Move | None:
        """Undo the newest move: the alias means again the former target that is still `usable`; None if there is none,
        and then nothing has changed."""
        key = {"kind": self._kind, "name": name, "alias": alias}
        rows = connection.execute(
            text("""SELECT seq, name, alias, target, author, moved FROM move
                    WHERE kind = :kind AND name = :name AND alias = :alias ORDER BY seq DESC"""),
            key,
        ).all()
        for seq, *former in rows[1:]:
            move = Move(*former)
            if move.target != rows[0].target and usable(move.target):
                undo = "DELETE FROM move WHERE kind = :kind AND name = :name AND alias = :alias AND seq > :seq"
                connection.execute(text(undo), {**key, "seq": seq})
                return move
        return None

    def drop(self, connection: Connection, name: str, alias: str | None = None, target: str | None = None) -> None:
        """Forget the moves of `name`: all, or those of one alias, or those to one target."""
        connection.execute(
            text("""DELETE FROM move WHERE kind = :kind AND name = :name
                    AND alias = coalesce(:alias, alias) AND target = coalesce(:target, target)"""),
            {"kind": self._kind, "name": name, "alias": alias, "target": target},
        )
