"""Immutable versions behind a name: publishing, aliases, rollback, deleting, full disks, several processes at once.

What `kill -9` leaves is in test_crashes.py.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from ragtune.errors import IncompatibleParts, InvalidRequest, StorageFull, UnknownName
from ragtune.mode import Mode, Ref
from ragtune.mode_aliases import KIND, ModeAliases
from ragtune.pinned import Pinned
from ragtune.store import Database
from ragtune.versions import MANIFEST, Version, Versions


class Note(BaseModel):
    """A manifest as small as they come."""

    words: str


PUBLISH = """
import os, signal, sys
from pathlib import Path
from pydantic import BaseModel
from sqlalchemy import Engine, event
from ragtune.store import Database
from ragtune.versions import Versions

class Note(BaseModel):
    words: str

home, name, times, die_before = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
if die_before:
    @event.listens_for(Engine, "before_cursor_execute")
    def die(connection, cursor, statement, *rest):
        if statement.startswith(die_before):
            os.kill(os.getpid(), signal.SIGKILL)

versions = Versions(home, Database(home / "ragtune.db"), "note", Note)
for time in range(times):
    with versions.staging() as folder:
        (folder / "content").write_text(f"{os.getpid()}-{time}")
        print(versions.publish(name, folder, Note(words=f"{os.getpid()}-{time}")).number, flush=True)
"""

STAGE_AND_WAIT = """
import os, sys
os.getpid = lambda: 2**22 + 1  # as in another container: here nobody has this number
from pathlib import Path
from pydantic import BaseModel
from ragtune.store import Database
from ragtune.versions import Versions

home = Path(sys.argv[1])
with Versions(home, Database(home / "ragtune.db"), "note", BaseModel).staging() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "ragtune.db")


@pytest.fixture
def notes(tmp_path: Path, database: Database) -> Versions[Note]:
    return Versions(tmp_path, database, "note", Note)


def publish(notes: Versions[Note], name: str, words: str, *, reuse: bool = False) -> Version[Note]:
    with notes.staging() as folder:
        (folder / "content").write_text(words)
        same = (lambda note: note.words == words) if reuse else None
        return notes.publish(name, folder, Note(words=words), author="ada", same=same)


@pytest.fixture
def three(notes: Versions[Note]) -> Versions[Note]:
    """a@1, a@2 and a@3."""
    for words in ("one", "two", "three"):
        publish(notes, "a", words)
    return notes


def publisher(home: Path, name: str, times: int = 1, die_before: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PUBLISH, str(home), name, str(times), die_before]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def folders(home: Path) -> list[str]:
    root = home / "store" / "note"
    return sorted(str(path.relative_to(root)) for path in [*root.glob("[!.]*/*"), *root.glob(".staging/*")])


def test_a_published_version_is_current_and_has_its_folder_and_manifest(notes: Versions[Note]) -> None:
    version = publish(notes, "a", "one")
    assert str(version) == "a@1"
    assert version.current
    assert (version.folder / "content").read_text() == "one"
    assert Note.model_validate_json((version.folder / MANIFEST).read_text()) == Note(words="one")
    assert notes.resolve(Ref("a")) == version


def test_a_name_means_its_newest_version_and_a_pin_means_that_version(notes: Versions[Note]) -> None:
    for words in ("one", "two", "three"):
        publish(notes, "a", words)
    assert notes.resolve(Ref("a")).manifest.words == "three"
    assert notes.resolve(Ref("a", "2")).manifest.words == "two"
    assert notes.resolve(Ref("a", "002")).manifest.words == "two"
    assert [version.current for version in notes.of("a")] == [False, False, True]
    assert [str(version) for version in notes.current()] == ["a@3"]


def test_kinds_do_not_see_each_other(tmp_path: Path, database: Database, notes: Versions[Note]) -> None:
    publish(notes, "a", "one")
    assert Versions(tmp_path, database, "other", Note).names() == []


def test_an_unknown_name_or_version_is_told_what_there_is(notes: Versions[Note]) -> None:
    with pytest.raises(UnknownName, match="no note is registered yet"):
        notes.resolve(Ref("support"))
    publish(notes, "support", "one")
    with pytest.raises(UnknownName, match="did you mean 'support'") as caught:
        notes.resolve(Ref("suport"), param="mode")
    assert caught.value.param == "mode"
    for number in ("7", "0", "9" * 64):
        with pytest.raises(UnknownName, match="known: 1"):
            notes.resolve(Ref("support", number))


def test_a_name_the_mode_language_cannot_say_is_refused(notes: Versions[Note]) -> None:
    for name in ("rag", "../up", "Upper"):
        with pytest.raises(InvalidRequest):
            publish(notes, name, "one")
    assert notes.names() == []


def test_deleting_removes_every_version_and_its_numbers_are_never_used_again(notes: Versions[Note]) -> None:
    gone = [publish(notes, "a", "one"), publish(notes, "a", "two")]
    assert [version.number for version in notes.delete("a")] == [1, 2]
    assert not any(version.folder.exists() for version in gone)
    for ref in (Ref("a"), Ref("a", "1")):
        with pytest.raises(UnknownName):
            notes.resolve(ref)
    assert publish(notes, "a", "three").number == 3


def test_deleting_what_is_not_there_says_so(notes: Versions[Note]) -> None:
    with pytest.raises(UnknownName):
        notes.delete("a")


def test_versions_survive_opening_the_home_anew(tmp_path: Path, database: Database, notes: Versions[Note]) -> None:
    publish(notes, "a", "one")
    database.close()
    again = Versions(tmp_path, Database(tmp_path / "ragtune.db"), "note", Note)
    assert again.resolve(Ref("a")).manifest.words == "one"


def test_a_version_says_who_published_it_and_when(notes: Versions[Note]) -> None:
    publish(notes, "a", "one")
    (version,) = notes.of("a")
    assert version.author == "ada" and version.created.endswith("+00:00")


def test_content_that_an_older_version_has_makes_that_one_current_again(tmp_path: Path, three: Versions[Note]) -> None:
    assert publish(three, "a", "one", reuse=True).number == 1
    assert three.resolve(Ref("a")).number == 1
    assert folders(tmp_path) == ["a/1", "a/2", "a/3"]
    assert publish(three, "a", "one", reuse=True) == three.resolve(Ref("a"))
    assert three.rollback("a").number == 3  # what was current before, and the second time was no move
    assert publish(three, "a", "four", reuse=True).number == 4


def test_the_newest_of_those_with_the_same_content_is_found(three: Versions[Note]) -> None:
    publish(three, "a", "one")
    found = three.find("a", lambda note: note.words == "one")
    assert found is not None and found.number == 4
    assert three.find("a", lambda note: note.words == "five") is None
    assert three.find("b", lambda note: True) is None


def test_an_alias_means_a_version_until_it_is_set_again(three: Versions[Note]) -> None:
    assert three.set_alias("a", "prod", 2).number == 2
    assert three.set_alias("a", "newest").number == 3
    publish(three, "a", "four")
    assert [three.resolve(Ref("a", alias)).number for alias in ("prod", "newest")] == [2, 3]
    assert {alias: version.number for alias, version in three.aliases("a").items()} == {"newest": 3, "prod": 2}
    assert [version.aliases for version in three.of("a")] == [(), ("prod",), ("newest",), ()]
    three.set_alias("a", "prod", 3)
    assert [version.aliases for version in three.of("a")] == [(), (), ("newest", "prod"), ()]


def test_an_alias_of_one_name_means_nothing_for_another(three: Versions[Note]) -> None:
    publish(three, "b", "one")
    three.set_alias("a", "prod", 1)
    with pytest.raises(UnknownName):
        three.resolve(Ref("b", "prod"))


@pytest.mark.parametrize("alias", ["2", "007", "", "Upper", "a b", "a@b", "x" * 65])
def test_an_alias_that_cannot_be_told_from_a_number_or_cannot_be_said_is_refused(
    three: Versions[Note], alias: str
) -> None:
    with pytest.raises(InvalidRequest, match="not a legal alias"):
        three.set_alias("a", alias, 1)


def test_an_alias_may_be_any_other_word(three: Versions[Note]) -> None:
    for alias in ("base", "rag", "0prod", "v2.1"):
        assert three.set_alias("a", alias, 2) == three.resolve(Ref("a", alias))


def test_an_unknown_alias_or_target_is_told_what_there_is(three: Versions[Note]) -> None:
    three.set_alias("a", "prod", 1)
    with pytest.raises(UnknownName, match="unknown version of note 'a': 'prd'; did you mean 'prod'"):
        three.resolve(Ref("a", "prd"))
    for failing in (lambda: three.set_alias("a", "prod", 4), lambda: three.remove_alias("a", "canary")):
        with pytest.raises(UnknownName, match="known: 1, 2, 3, prod"):
            failing()
    assert three.resolve(Ref("a", "prod")).number == 1


def test_an_alias_that_is_taken_away_means_nothing_and_remembers_nothing(three: Versions[Note]) -> None:
    three.set_alias("a", "prod", 1)
    three.set_alias("a", "prod", 2)
    assert three.remove_alias("a", "prod").number == 2
    with pytest.raises(UnknownName):
        three.resolve(Ref("a", "prod"))
    three.set_alias("a", "prod", 3)
    with pytest.raises(IncompatibleParts):
        three.rollback("a", "prod")


def test_a_rollback_goes_back_one_by_one_and_says_when_there_is_nothing_left(three: Versions[Note]) -> None:
    assert [three.rollback("a").number, three.rollback("a").number] == [2, 1]
    with pytest.raises(IncompatibleParts, match="nothing to go back to: a means a@1"):
        three.rollback("a")
    assert three.resolve(Ref("a")).number == 1
    assert publish(three, "a", "four").number == 4
    assert three.rollback("a").number == 1


def test_an_alias_is_rolled_back_by_itself(three: Versions[Note]) -> None:
    for number in (1, 3, 3, 2):
        three.set_alias("a", "prod", number)
    assert [three.rollback("a", "prod").number for _ in range(2)] == [3, 1]
    assert three.resolve(Ref("a")).number == 3
    with pytest.raises(IncompatibleParts, match="a@prod means a@1"):
        three.rollback("a", "prod")
    with pytest.raises(UnknownName):
        three.rollback("a", "canary")


def test_a_rollback_passes_over_what_was_deleted(three: Versions[Note]) -> None:
    for number in (1, 2, 3):
        three.set_alias("a", "prod", number)
    assert [str(version) for version in three.forget(Ref("a", "2"))] == ["a@2"]
    assert three.rollback("a", "prod").number == 1
    assert three.rollback("a").number == 1


def test_a_single_version_goes_only_when_nothing_means_it(tmp_path: Path, three: Versions[Note]) -> None:
    three.set_alias("a", "prod", 3)
    three.set_alias("a", "canary", 1)
    with pytest.raises(IncompatibleParts, match="a@3 is what a and a@prod mean"):
        three.forget(Ref("a", "3"))
    with pytest.raises(IncompatibleParts, match="a@1 is what a@canary means"):
        three.forget(Ref("a", "canary"))
    (gone,) = three.forget(Ref("a", "2"))
    assert folders(tmp_path) == ["a/1", "a/2", "a/3"]  # whoever has found it goes on
    three.discard(gone)
    assert folders(tmp_path) == ["a/1", "a/3"]
    assert [version.number for version in three.of("a")] == [1, 3]
    assert publish(three, "a", "four").number == 4


def test_deleting_a_name_takes_its_aliases_and_what_it_meant_along(three: Versions[Note]) -> None:
    three.set_alias("a", "prod", 1)
    three.delete("a")
    assert publish(three, "a", "again").number == 4
    assert three.aliases("a") == {}
    with pytest.raises(IncompatibleParts):
        three.rollback("a")


def test_deleting_a_name_unpins_it_and_deleting_one_version_does_not(
    tmp_path: Path, database: Database, three: Versions[Note]
) -> None:
    other = Versions(tmp_path, database, "other", Note)
    with other.staging() as folder:
        other.publish("a", folder, Note(words="of another kind"))
    pinned, others = Pinned(database, "note"), Pinned(database, "other")
    for each in (pinned, others):
        each.add("a")
        each.add("b")
    assert pinned.names() == ["a"], "a name without a version cannot be pinned"
    three.forget(Ref("a", "1"))
    assert pinned.names() == ["a"]
    three.forget(Ref("a"))
    assert (pinned.names(), others.names()) == ([], ["a"])


def test_a_version_that_was_forgotten_and_not_discarded_is_collected_at_the_next_start(
    tmp_path: Path, three: Versions[Note]
) -> None:
    three.forget(Ref("a", "1"))
    assert three.collect_staging() == []
    assert folders(tmp_path) == ["a/1", "a/2", "a/3"]
    assert [path.name for path in three.collect_orphans()] == ["1"]
    assert folders(tmp_path) == ["a/2", "a/3"]


def test_a_publish_that_fails_leaves_alone_what_was_forgotten_and_is_still_in_use(
    tmp_path: Path, database: Database, three: Versions[Note]
) -> None:
    three.forget(Ref("a", "1"))
    with database.read() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFull):
        publish(three, "a", "x" * 100_000)
    assert folders(tmp_path) == ["a/1", "a/2", "a/3"]


def test_a_name_that_is_an_alias_for_a_mode_cannot_be_published(tmp_path: Path, database: Database) -> None:
    adapters = Versions(tmp_path, database, "adapter", Note, apart_from=KIND)
    ModeAliases(database).set("best", Mode())
    for failing in (lambda: publish(adapters, "best", "one"), lambda: adapters.check_free("best")):
        with pytest.raises(InvalidRequest, match="'best' is an alias for the mode base; choose another name"):
            failing()
    ModeAliases(database).remove("best")
    assert publish(adapters, "best", "one").number == 1


def test_whoever_looks_while_an_alias_flips_finds_the_one_or_the_other(three: Versions[Note]) -> None:
    three.set_alias("a", "prod", 1)
    found: set[int] = set()
    flipping = threading.Thread(target=lambda: [three.set_alias("a", "prod", number) for number in (2, 1) * 30 + (2,)])
    flipping.start()
    while flipping.is_alive():
        (meant,) = [version.number for version in three.of("a") if "prod" in version.aliases]
        found |= {meant, three.resolve(Ref("a", "prod")).number}
    flipping.join()
    assert found == {1, 2}
    assert three.rollback("a", "prod").number == 1


def test_a_build_that_fails_leaves_no_staging_folder(tmp_path: Path, notes: Versions[Note]) -> None:
    with pytest.raises(ZeroDivisionError), notes.staging() as folder:
        (folder / "content").write_text("half")
        _ = 1 / 0
    assert folders(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_while_building_leaves_nothing(tmp_path: Path, notes: Versions[Note]) -> None:
    with pytest.raises(StorageFull, match="nothing was published"), notes.staging():
        Path("/dev/full").write_text("x")
    assert folders(tmp_path) == []


def test_a_disk_that_is_full_while_publishing_leaves_nothing(
    tmp_path: Path, database: Database, notes: Versions[Note]
) -> None:
    publish(notes, "a", "one")
    with database.read() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFull):
        publish(notes, "a", "x" * 100_000)
    assert folders(tmp_path) == ["a/1"]
    assert notes.resolve(Ref("a")).manifest.words == "one"


def test_a_crash_between_rename_and_row_leaves_an_orphan_that_is_collected(
    tmp_path: Path, notes: Versions[Note]
) -> None:
    publish(notes, "a", "one")
    crashed = publisher(tmp_path, "a", die_before="INSERT INTO version")
    assert crashed.communicate() == ("", "")
    assert folders(tmp_path) == ["a/1", "a/2"]
    assert notes.resolve(Ref("a")).number == 1
    assert [path.name for path in notes.collect_orphans()] == ["2"]
    assert folders(tmp_path) == ["a/1"]


def test_publishing_after_such_a_crash_takes_the_number_and_not_the_content(
    tmp_path: Path, notes: Versions[Note]
) -> None:
    publisher(tmp_path, "a", die_before="INSERT INTO version").communicate()
    version = publish(notes, "a", "mine")
    assert (version.number, (version.folder / "content").read_text()) == (1, "mine")


def test_a_crash_while_building_leaves_a_staging_folder_that_is_collected(
    tmp_path: Path, notes: Versions[Note]
) -> None:
    publisher(tmp_path, "a", die_before="INSERT OR IGNORE").communicate()
    (left,) = folders(tmp_path)
    assert left.startswith(".staging/")
    with notes.staging() as mine:  # of a live process: stays
        notes.collect_orphans()
        assert folders(tmp_path) == [f".staging/{mine.name}"]


def test_a_staging_folder_counts_by_whether_somebody_builds_in_it_and_not_by_a_process_number(
    tmp_path: Path, notes: Versions[Note]
) -> None:
    """In a container the server is process 1 each time, and the numbers of another container mean nothing here."""
    left = tmp_path / "store" / "note" / ".staging" / f"{os.getpid()}-left-by-a-killed-server"
    left.mkdir(parents=True)
    command = [sys.executable, "-c", STAGE_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as elsewhere:
        assert elsewhere.stdout is not None
        staged = Path(elsewhere.stdout.readline().strip())
        assert notes.collect_staging() == [left]
        assert staged.exists() and not left.exists()
        elsewhere.kill()
    assert notes.collect_staging() == [staged]
    assert folders(tmp_path) == []


def test_what_keeps_a_staging_folder_is_no_part_of_the_version(tmp_path: Path, notes: Versions[Note]) -> None:
    version = publish(notes, "a", "one")
    assert sorted(path.name for path in version.folder.iterdir()) == ["content", MANIFEST]
    assert folders(tmp_path) == ["a/1"]


def test_publishers_in_several_processes_get_distinct_numbers(tmp_path: Path, notes: Versions[Note]) -> None:
    running = [publisher(tmp_path, "a", times=5) for _ in range(4)]
    done = [process.communicate() for process in running]
    assert [errors for _, errors in done] == [""] * 4
    numbers = sorted(int(number) for output, _ in done for number in output.split())
    assert numbers == list(range(1, 21))
    versions = notes.of("a")
    assert [(version.folder / "content").read_text() for version in versions] == [v.manifest.words for v in versions]
    assert [version.number for version in versions if version.current] == [20]


def test_deleting_beside_a_publisher_never_takes_a_version_that_came_later(
    tmp_path: Path, notes: Versions[Note]
) -> None:
    publish(notes, "a", "one")
    running = publisher(tmp_path, "a", times=40)
    deleted: list[int] = []
    while running.poll() is None:
        if notes.names():
            deleted += [version.number for version in notes.delete("a")]
    output, errors = running.communicate()
    assert errors == ""
    left = notes.of("a") if notes.names() else []
    assert all((version.folder / "content").exists() for version in left)
    assert sorted(deleted + [version.number for version in left]) == [1, *map(int, output.split())]
