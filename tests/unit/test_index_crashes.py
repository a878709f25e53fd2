"""`kill -9` at random moments of building, syncing, uploading, deleting, publishing and rolling back an index.

One home is kept between the kills. After each it is opened anew, as a starting server does, and held against the
journal of the work that was killed (`tests/index_work.py`): whatever is visible is whole, nothing that was acknowledged
is undone. The seeds are fixed, the moments are not: they fall where the disk lets them.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import kill
from pathlib import Path

import numpy as np
import pytest

from indexer.building import JOB, BuildSpec, build_from
from indexer.contents import read_documents, read_records
from indexer.dense import read_vectors
from indexer.model import Model
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import Indexes, IndexManifest, resource
from indexer.stored_documents import Key
from ragtune.jobs import Jobs
from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.versions import Version
from ragtune.wire import Retrieval
from tests.index_work import FILES, INDEX, UPLOADS, Entry, last_revision
from tests.letters import LetterEmbedder
from tests.whole_index import NOTHING, check_whole, stamp_of

ROUNDS = 40
LONGEST = 0.6  # seconds a child lives at most
METHODS: tuple[Retrieval, ...] = ("dense", "lexical", "hybrid")


@dataclass
class Known:
    """What the journal says must be so."""

    hidden: dict[Key, int] = field(default_factory=lambda: defaultdict(int))  # up to which revision, acknowledged
    perhaps: dict[Key, int] = field(default_factory=lambda: defaultdict(int))  # the same, for all that was ever begun
    stored: dict[Key, set[int]] = field(default_factory=lambda: {key: {NOTHING} for key in UPLOADS})  # stamps it may be
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    killed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seen: dict[str, IndexManifest] = field(default_factory=dict)
    _read: int = 0

    def read(self, journal: Path, last: int) -> None:
        """Take in what was written since the last time; `last` is the newest revision by now."""
        lines = journal.read_text().splitlines()
        begun: dict[int, Entry] = {}
        for entry in map(Entry.model_validate_json, lines[self._read :]):
            assert not entry.what.startswith("surprise"), entry.what
            if entry.what == "refused":
                self._doubt(begun.pop(entry.number), entry.revision)
            elif entry.done:
                self._take(begun.pop(entry.number), entry)
                self.done[entry.what] += 1
            else:
                begun[entry.number] = entry
        for entry in begun.values():
            self._doubt(entry, last)
            self.killed[entry.what] += 1
        self._read = len(lines)

    def _take(self, before: Entry, after: Entry) -> None:
        for key in after.keys:
            if after.what == "delete":
                self.hidden[key] = max(self.hidden[key], before.revision)
                self.perhaps[key] = max(self.perhaps[key], after.revision)
            if key in self.stored:
                self.stored[key] = {after.stamp}

    def _doubt(self, entry: Entry, last: int) -> None:
        for key in entry.keys:
            if entry.what == "delete":
                self.perhaps[key] = last
            if key in self.stored:
                self.stored[key].add(entry.stamp)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.index_work", str(tmp_path)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def killed_after(nursery: "subprocess.Popen[str]", seed: int, seconds: float) -> None:
    """Let a child work for so long, then kill it, and wait until it is gone."""
    assert nursery.stdin is not None and nursery.stdout is not None
    nursery.stdin.write(f"{seed}\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    time.sleep(seconds)
    kill(child, signal.SIGKILL)
    assert nursery.stdout.readline() == "ended\n"


def check(home: Path, known: Known) -> tuple[int, int]:
    """All that must hold after a restart; how many jobs were found dead, and how many folders of no use."""
    database = Database(home / "ragtune.db")
    indexes, jobs = Indexes(home, database), Jobs(database, home)
    dead, orphans = len(jobs.recover()), len(indexes.versions.collect_orphans())
    known.read(home / "journal", last_revision(database))
    assert all(job.ended for job in jobs.newest(10_000))
    jobs.check_free(resource(INDEX))
    check_stored(indexes, known)
    versions = indexes.versions.of(INDEX) if INDEX in indexes.versions.names() else []
    root = home / "store" / "index"
    assert {*root.glob("[!.]*/*"), *root.glob(".staging/*")} == {version.folder for version in versions}
    assert not versions or sum(version.current for version in versions) == 1
    for version in versions:
        check_whole(version)
        check_vectors(version)
        assert known.seen.setdefault(str(version), version.manifest) == version.manifest, "a number used twice"
        check_searches(version, indexes, known)
    database.close()
    return dead, orphans


def check_stored(indexes: Indexes, known: Known) -> None:
    """Every upload that was acknowledged is stored, every delete that was is not undone."""
    stored = {(d.tenant, d.id): d for d in indexes.documents.snapshot(INDEX).documents}
    texts = indexes.documents.texts(stored.values())
    assert len(texts) == len({document.text_sha256 for document in stored.values()})
    for key, stamps in known.stored.items():
        found = stored.get(key)
        assert (stamp_of(texts[found.text_sha256]) if found else NOTHING) in stamps
    assert all(document.revision > known.hidden[key] for key, document in stored.items())


def check_vectors(version: Version[IndexManifest]) -> None:
    """No vector is another passage's."""
    texts = [record.searched_text for record in read_records(version.folder)]
    assert np.allclose(read_vectors(version.folder), LetterEmbedder().encode(texts), atol=1e-6)


def check_searches(version: Version[IndexManifest], indexes: Indexes, known: Known) -> None:
    """Every search finds what was never deleted, and nothing that was."""
    everything = {(d.tenant, d.id): d.revision for d in read_documents(version.folder)}
    wanted = {key for key, revision in everything.items() if revision > known.perhaps[key]}
    retriever = Retriever(LetterEmbedder(), hidden=indexes.documents.hidden)
    for method in METHODS:
        passages = retriever.search(version, Search(query="alpha", method=method, top_k=1000))
        found = {(passage.tenant, passage.document) for passage in passages}
        assert wanted <= found <= set(everything)
        for passage in passages:
            assert passage.revision > known.hidden[passage.tenant, passage.document], f"{passage} was deleted"


def check_new_build(home: Path, known: Known) -> None:
    """A build can start at once, and brings all that is stored."""
    database = Database(home / "ragtune.db")
    indexes, spec = Indexes(home, database), BuildSpec(index=INDEX, path=str(home / "docs"), max_tokens=32)
    with Jobs(database, home).run(JOB, resource(INDEX), spec.model_dump(mode="json")):
        built = build_from(spec, indexes, Model.loaded(LetterEmbedder())).built.version
    assert indexes.resolve(Ref(INDEX)).number == built.number
    check_whole(built)
    check_vectors(built)
    check_searches(built, indexes, known)
    texts: dict[Key, set[int]] = defaultdict(set)
    for record in read_records(built.folder):
        texts[record.tenant, record.document] |= {stamp_of(record.text)} - {NOTHING}
    for name in FILES:
        path = home / "docs" / name
        if not known.perhaps["", name]:
            assert texts["", name] == ({stamp_of(path.read_text())} - {NOTHING} if path.exists() else set())
    for key, stamps in known.stored.items():
        assert (texts[key] or {NOTHING}) <= stamps
    known.seen[str(built)] = built.manifest
    database.close()


def test_after_kill_9_at_any_moment_an_index_shows_what_is_whole_and_nothing_that_was_deleted(
    tmp_path: Path, nursery: "subprocess.Popen[str]"
) -> None:
    draw, known, dead, orphans = random.Random(5), Known(), 0, 0
    Database(tmp_path / "ragtune.db").close()
    (tmp_path / "journal").touch()
    for seed in range(1, ROUNDS + 1):
        killed_after(nursery, seed, draw.uniform(0.05, LONGEST))
        found = check(tmp_path, known)
        dead, orphans = dead + found[0], orphans + found[1]
        if seed % 8 == 0:
            check_new_build(tmp_path, known)
            check(tmp_path, known)
    print(
        f"{ROUNDS} kills: {dict(known.done)} were done, {dict(known.killed)} killed; {len(known.seen)} versions, "
        f"{dead} jobs found dead, {orphans} folders collected"
    )
    assert len(known.seen) > ROUNDS / 2 and known.done["put"] > ROUNDS and known.done["delete"] > ROUNDS / 4
    assert dead > ROUNDS / 4 and orphans > 0  # and were hit in the middle of something
