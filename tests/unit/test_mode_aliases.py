"""Names for whole modes: what they mean, what they meant before, and which names they may have."""

from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import Pool, event

from ragtune.errors import IncompatibleParts, InvalidRequest, UnknownName
from ragtune.mode import Mode, Ref
from ragtune.mode_aliases import KIND, ModeAliases
from ragtune.store import Database
from ragtune.versions import Versions


class Empty(BaseModel):
    """No manifest at all."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "ragtune.db")


@pytest.fixture
def aliases(database: Database) -> ModeAliases:
    return ModeAliases(database)


def always(_mode: str) -> bool:
    return True


def test_an_alias_means_the_mode_it_was_given_last_as_it_was_written(aliases: ModeAliases) -> None:
    assert aliases.find("best") is None
    aliases.set("best", Mode.parse("rag"), "ada")
    best = aliases.set("best", Mode.parse("rag:handbook@3+support-lora@2"), "ben")
    assert (best.name, best.mode, best.author) == ("best", "support-lora@2+rag:handbook@3", "ben")
    aliases.set("cheap", Mode())
    assert [alias.mode for alias in aliases.all()] == [best.mode, "base"]
    assert aliases.get("best") == best


def test_a_rollback_goes_back_to_the_former_mode_that_can_still_be_had(aliases: ModeAliases) -> None:
    for mode in ("base", "rag", "a-lora@1", "a-lora@2"):
        aliases.set("best", Mode.parse(mode))
    assert aliases.rollback("best", lambda mode: mode != "a-lora@1").mode == "rag"
    with pytest.raises(IncompatibleParts, match="nothing to go back to: best means rag"):
        aliases.rollback("best", lambda mode: False)
    assert aliases.rollback("best", always).mode == aliases.get("best").mode == "base"
    with pytest.raises(IncompatibleParts):
        aliases.rollback("best", always)


def test_an_alias_that_is_removed_is_forgotten(aliases: ModeAliases) -> None:
    aliases.set("best", Mode())
    assert aliases.remove("best").mode == "base"
    for failing in (aliases.get, aliases.remove, lambda name: aliases.rollback(name, always)):
        with pytest.raises(UnknownName, match="unknown mode alias 'best'"):
            failing("best")


@pytest.mark.parametrize("name", ["base", "rag", "prompt", "Best", "a+b", "a@1", ""])
def test_a_name_the_mode_language_cannot_say_is_refused(aliases: ModeAliases, name: str) -> None:
    with pytest.raises(InvalidRequest):
        aliases.set(name, Mode())


def test_a_name_is_an_adapter_or_an_alias_and_never_both(
    tmp_path: Path, database: Database, aliases: ModeAliases
) -> None:
    adapters = Versions(tmp_path, database, "adapter", Empty, apart_from=KIND)
    with adapters.staging() as folder:
        adapters.publish("a-lora", folder, Empty())
    with pytest.raises(InvalidRequest, match="'a-lora' is an adapter; choose another name"):
        aliases.set("a-lora", Mode())
    adapters.delete("a-lora")
    aliases.set("a-lora", Mode())
    with adapters.staging() as folder, pytest.raises(InvalidRequest, match="is an alias for the mode base"):
        adapters.publish("a-lora", folder, Empty())


def test_an_alias_needs_the_version_it_pins_and_no_other(aliases: ModeAliases) -> None:
    aliases.set("best", Mode.parse("a-lora@02+rag:a-lora@1"))
    with pytest.raises(IncompatibleParts, match="best means a-lora@02"):
        aliases.check_unused("a-lora", 2)
    for adapter, number in (("a-lora", 1), ("b-lora", 2)):
        aliases.check_unused(adapter, number)


def test_a_change_takes_one_connection_also_where_it_is_refused(
    tmp_path: Path, database: Database, aliases: ModeAliases
) -> None:
    """Two, one of them inside the other's transaction, can wait for each other where many change something at once."""
    versions, taken = Versions(tmp_path, database, "adapter", Empty), list[object]()
    aliases.set("best", Mode())
    aliases.set("best", Mode.parse("rag"))

    def checkout(connection: object, *_: object) -> None:
        taken.append(connection)

    event.listen(Pool, "checkout", checkout)
    try:
        for change in (
            lambda: aliases.rollback("best", always),
            lambda: aliases.remove("best"),
            lambda: aliases.remove("bst"),
            lambda: versions.forget(Ref("none")),
            lambda: versions.rollback("none"),
        ):
            taken.clear()
            with suppress(UnknownName):
                change()
            assert len(taken) == 1
    finally:
        event.remove(Pool, "checkout", checkout)
