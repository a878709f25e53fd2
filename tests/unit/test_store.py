"""The database: opened by anyone at any time, written by one at a time, and clear about what is wrong with it."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ragtune.errors import InvalidRequest, RagtuneError, StorageFull
from ragtune.store import MIGRATIONS, Database

OPEN = "import sys; from pathlib import Path; from ragtune.store import Database; Database(Path(sys.argv[1]))"


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
