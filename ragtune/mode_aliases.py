"""Names like `best` that mean a whole mode, and remember what they meant before.

An alias keeps the mode as it was written: `support-lora@2+rag` pins the adapter and follows the index. It stands alone
in a request, and never means another alias.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from ragtune.errors import IncompatibleParts, InvalidRequest, UnknownName
from ragtune.mode import Mode, Ref, check_name
from ragtune.pointers import Move, Pointers
from ragtune.store import Database

KIND = "mode"
_ADAPTERS = Pointers("adapter")  # these two kinds share their names


@dataclass(frozen=True)
class ModeAlias:
    """What `name` means since `moved`, and who made it so."""

    name: str
    mode: str
    author: str
    moved: str

    @classmethod
    def of(cls, move: Move) -> "ModeAlias":
        """From the newest move of the alias."""
        return cls(move.name, move.target, move.author, move.moved)


class ModeAliases:
    """All aliases of one home. Safe to use from several processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pointers = Pointers(KIND)

    def all(self) -> list[ModeAlias]:
        """Sorted by name."""
        with self._database.read() as connection:
            return [ModeAlias.of(move) for move in self._pointers.all(connection)]

    def find(self, name: str) -> ModeAlias | None:
        """The alias, or None."""
        with self._database.read() as connection:
            move = self._pointers.find(connection, name)
        return None if move is None else ModeAlias.of(move)

    def get(self, name: str) -> ModeAlias:
        """The alias. Raises UnknownName with near matches."""
        with self._database.read() as connection:
            return self._get(connection, name)

    def set(self, name: str, mode: Mode, author: str = "") -> ModeAlias:
        """Let `name` mean `mode` from now on; that the mode can be had is for the caller to know.

        Raises InvalidRequest for an illegal name, or one that an adapter has.
        """
        check_name(name, "alias")
        with self._database.write() as connection:
            if _ADAPTERS.find(connection, name):
                raise InvalidRequest(f"{name!r} is an adapter; choose another name for the alias", param="alias")
            return ModeAlias.of(self._pointers.move(connection, name, "", str(mode), author))

    def rollback(self, name: str, usable: Callable[[str], bool]) -> ModeAlias:
        """Let `name` mean again the mode it meant before that is still `usable`; again goes further back.

        Raises UnknownName, and IncompatibleParts if there is none; nothing has changed then.
        """
        with self._database.write() as connection:
            now = self._get(connection, name)
            move = self._pointers.back(connection, name, "", usable)
            if move is None:
                raise IncompatibleParts(
                    f"there is nothing to go back to: {name} means {now.mode}, and before that no mode that can still "
                    "be had"
                )
            return ModeAlias.of(move)

    def remove(self, name: str) -> ModeAlias:
        """Take the alias away, with what it meant before; returns what it meant. Raises UnknownName."""
        with self._database.write() as connection:
            gone = self._get(connection, name)
            self._pointers.drop(connection, name)
            return gone

    def check_unused(self, adapter: str, number: int) -> None:
        """Raises IncompatibleParts if an alias pins this version of an adapter."""
        meaning = [alias for alias in self.all() if _pins(alias.mode, adapter, str(number))]
        if meaning:
            told = " and ".join(f"{alias.name} means {alias.mode}" for alias in meaning)
            raise IncompatibleParts(f"{told}: let that mean another mode first, or delete {adapter} as a whole")

    def pins_index(self, index: str, number: int) -> bool:
        """Whether an alias pins this version of an index."""
        refs = (Mode.parse(alias.mode).index for alias in self.all())
        return any(ref is not None and _means(ref, index, str(number)) for ref in refs)

    def _get(self, connection: Connection, name: str) -> ModeAlias:
        known = {move.name: ModeAlias.of(move) for move in self._pointers.all(connection)}
        if name not in known:
            raise UnknownName.among("mode alias", name, known, param="alias")
        return known[name]


def _pins(mode: str, adapter: str, number: str) -> bool:
    return any(_means(ref, adapter, number) for ref in Mode.parse(mode).adapters)


def _means(ref: Ref, name: str, number: str) -> bool:
    return ref.name == name and ref.version is not None and ref.version.lstrip("0") == number
