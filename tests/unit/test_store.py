"""The database: opened by anyone at any time, written by one at a time, and clear about what is wrong with it."""

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from ragtune.errors import IncompatibleParts, InvalidRequest, RagtuneError, StorageFull
from ragtune.mode import Ref
from ragtune.store import MIGRATIONS, Database
from ragtune.versions import Versions

OPEN = "import sys; from pathlib import Path; from ragtune.store import Database; Database(Path(sys.argv[1]))"

FIRST_SCHEMA = """
CREATE TABLE resource (
    kind TEXT NOT NULL, name TEXT NOT NULL, current INTEGER, last INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, name));
CREATE TABLE version (
    kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, folder TEXT NOT NULL,
    manifest TEXT NOT NULL, created TEXT NOT NULL, PRIMARY KEY (kind, name, number));
INSERT INTO resource VALUES ('note', 'a', 3, 3), ('note', 'deleted', NULL, 7), ('other', 'a', 1, 1);
INSERT INTO version VALUES
    ('note', 'a', 2, 'a/2', '{"words": "two"}', '2026-01-02T00:00:00+00:00'),
    ('note', 'a', 3, 'a/3', '{"words": "three"}', '2026-01-03T00:00:00+00:00'),
    ('other', 'a', 1, 'a/1', '{"words": "other"}', '2026-01-01T00:00:00+00:00');
PRAGMA user_version = 1;
"""


class Note(BaseModel):
    words: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "ragtune.db"


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM resource")).scalar_one())


def add(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO resource (kind, name) VALUES ('test', :name)"), {"name": name})


def test_what_was_committed_is_there_again_after_opening_anew(path: Path) -> None:
    database = Database(path)
    add(database, "a")
    database.close()
    assert count(Database(path)) == 1


def test_a_home_of_the_first_schema_shows_the_same_and_can_go_back(path: Path) -> None:
    path.parent.mkdir()
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    old.close()
    notes = Versions(path.parent, Database(path), "note", Note)
    shown = [(str(v), v.current, v.manifest.words, v.created[:10], v.author) for v in notes.of("a")]
    assert shown == [("a@2", False, "two", "2026-01-02", ""), ("a@3", True, "three", "2026-01-03", "")]
    assert notes.names() == ["a"]
    for name, number in (("a", 4), ("deleted", 8)):
        with notes.staging() as folder:
            assert notes.publish(name, folder, Note(words="new")).number == number
    assert [notes.rollback("a").number for _ in range(2)] == [3, 2]
    with pytest.raises(IncompatibleParts):
        notes.rollback("a")
    assert Versions(path.parent, Database(path), "other", Note).resolve(Ref("a")).manifest.words == "other"


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    database = Database(path)
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(text("INSERT INTO resource (kind, name) VALUES ('test', 'a')"))
        _ = 1 / 0
    assert count(database) == 0
    add(database, "b")  # and holds no lock
    assert count(database) == 1


def test_a_reader_sees_one_moment_while_others_write(path: Path) -> None:
    database = Database(path)
    with database.read() as connection:
        before = connection.execute(text("SELECT count(*) FROM resource")).scalar_one()
        add(database, "a")
        assert connection.execute(text("SELECT count(*) FROM resource")).scalar_one() == before == 0
    assert count(database) == 1


def test_a_reader_never_waits_for_writers_however_many_queue(path: Path) -> None:
    database = Database(path)
    with ThreadPoolExecutor(40) as writers:
        with database.write():
            queued = [writers.submit(add, database, str(number)) for number in range(40)]
            time.sleep(0.3)  # until they all have a connection, and wait for their turn
            started = time.monotonic()
            assert count(database) == 0
            assert time.monotonic() - started < 2
        for each in queued:
            each.result()
    assert count(database) == 40


def test_several_processes_may_open_a_new_home_at_the_same_moment(path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(path)], stderr=subprocess.PIPE, text=True) for _ in range(6)
    ]
    errors = [process.communicate()[1] for process in started]
    assert errors == [""] * 6
    assert count(Database(path)) == 0


def test_an_up_to_date_database_opens_while_another_process_writes(path: Path) -> None:
    database = Database(path)
    with database.write():
        assert count(Database(path)) == 0


def test_a_full_disk_is_said_to_be_full_and_nothing_stays(path: Path) -> None:
    database = Database(path)
    with database.read() as connection:  # the only connection of the pool: sqlite's own limit stands in for the disk
        connection.execute(text("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFull, match="is full"), database.write() as connection:
        for number in range(2000):
            connection.execute(text("INSERT INTO resource (kind, name) VALUES ('test', :name)"), {"name": f"{number}"})
    assert count(database) == 0


def test_a_database_of_a_newer_ragtune_is_refused(path: Path) -> None:
    with Database(path).write() as connection:
        connection.execute(text(f"PRAGMA user_version = {len(MIGRATIONS) + 1}"))
    with pytest.raises(RagtuneError, match="newer ragtune"):
        Database(path)


def test_a_home_that_is_no_folder_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequest, match="set RAGTUNE_HOME"):
        Database(tmp_path / "file" / "ragtune.db")


def test_a_file_that_is_no_database_is_refused_by_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, whatever it is called" * 100)
    with pytest.raises(InvalidRequest, match=r"cannot use .*ragtune\.db: file is not a database"):
        Database(path)


def test_only_what_need_not_last_is_written_without_waiting_for_the_disk(path: Path) -> None:
    database = Database(path)
    for lasting, level in ((False, 1), (True, 2), (False, 1)):
        with database.write(lasting=lasting) as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == level
    with database.write() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
