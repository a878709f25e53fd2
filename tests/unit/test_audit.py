"""The audit log: appended to, never changed, newest first; and what the command line adds to it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from indexer.cli import index
from indexer.store import Indexes
from ragtune.audit import AuditLog, Entry
from ragtune.audit_cli import audit
from ragtune.store import Database
from ragtune.template_cli import template
from tests.fakes import LetterEmbedder
from tests.small_index import build_index


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "ragtune.db")


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database)


def test_the_newest_entry_comes_first(log: AuditLog) -> None:
    entries = [Entry(who=None, method="PUT", path=f"/{number}", status=401) for number in range(3)]
    for entry in entries:
        log.write(entry)
    found = log.newest(10)
    assert [entry.model_copy(update={"number": None}) for entry in found] == entries[::-1]
    assert log.newest(2) == found[:2]


def test_the_log_is_read_further_back_from_any_entry(tmp_path: Path, log: AuditLog) -> None:
    for number in range(5):
        log.command("key create", f"app-{number}")
    found = log.newest(10)
    assert log.newest(2, before=found[1].number) == found[2:4]
    assert log.newest(9, before=found[-1].number) == []
    assert log.newest(10**30, before=10**30) == found
    runner = CliRunner(env={"RAGTUNE_HOME": str(tmp_path)})
    shown = json.loads(runner.invoke(audit, ["--limit", "1", "--before", str(found[1].number), "--json"]).stdout)
    assert shown == [found[2].model_dump()]
    assert str(found[0].number) in runner.invoke(audit).stdout
    assert "nothing was changed before number 1" in runner.invoke(audit, ["--before", "1"]).stderr


@pytest.mark.parametrize("change", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
def test_an_entry_can_neither_be_changed_nor_deleted(log: AuditLog, database: Database, change: str) -> None:
    log.command("key create app")
    with pytest.raises(DBAPIError, match="only appended to"), database.write() as connection:
        connection.execute(text(change))
    assert [entry.who for entry in log.newest(10)] == ["cli"]


def test_a_path_that_goes_on_and_on_is_cut(log: AuditLog) -> None:
    log.write(Entry(who=None, method="DELETE", path="/v1/adapters/" + "x" * 60_000, status=401))
    assert len(log.newest(1)[0].path) == 512


def test_a_path_with_escapes_of_a_terminal_is_listed_with_them_to_be_read(tmp_path: Path, log: AuditLog) -> None:
    log.write(Entry(who=None, method="DELETE", path="/v1/adapters/\x1b[1A\x9b2K", status=401))
    listed = CliRunner(env={"RAGTUNE_HOME": str(tmp_path)}).invoke(audit).stdout
    assert "/v1/adapters/\\x1b[1A\\x9b2K" in listed
    assert "\x1b" not in listed and "\x9b" not in listed


def test_commands_that_change_the_home_themselves_are_written_down(
    tmp_path: Path, database: Database, log: AuditLog
) -> None:
    runner = CliRunner(env={"RAGTUNE_HOME": str(tmp_path)})
    (tmp_path / "brief.toml").write_text('system = "a secret wording"')
    (tmp_path / "docs.txt").write_text("a secret document")
    assert runner.invoke(template, ["add", "brief", str(tmp_path / "brief.toml")]).exit_code == 0
    build_index(tmp_path / "docs.txt", "handbook", Indexes(tmp_path, database), LetterEmbedder())
    assert runner.invoke(index, ["delete", "handbook", "--yes"]).exit_code == 0
    assert [(entry.who, entry.path) for entry in log.newest(9)] == [
        ("cli", "index delete handbook"),
        ("cli", "template add brief@1"),
    ]
    assert "secret" not in json.dumps([entry.model_dump() for entry in log.newest(9)])
