"""Endless work on one index, for tests that kill it in the midst: `python -m tests.index_work HOME`.

Each line on stdin is a seed, for which a child is forked that works until it is killed; its number is printed, and
"ended" when it is gone. Two threads work at once, as in a service: one changes the files of a folder, builds, rolls
back and deletes former versions, the other uploads and deletes documents. What they begin and what they have done
stands in HOME/journal. Every content carries a stamp, a word of its own, and all contents share the word "alpha".
"""

import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import text

from indexer.building import JOB, BuildSpec, build_from
from indexer.deleting import delete_document
from indexer.documents import Document
from indexer.embedding import Vectors
from indexer.model import Model
from indexer.outdated import outdated
from indexer.reading import READER
from indexer.store import Indexes, resource
from indexer.stored_documents import UPLOAD, Key, Source
from ragtune.errors import RagtuneError, RefusedArtifact, UnknownName
from ragtune.jobs import Jobs
from ragtune.mode import Ref
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.store import Database
from tests.letters import LetterEmbedder

INDEX, KEPT = "letters", 3
FILES = tuple(f"page-{number}.{suffix}" for number in range(8) for suffix in ("md", "txt"))
UPLOADS = tuple((tenant, f"note-{number}.txt") for tenant in ("", "acme") for number in range(4))
STAMPS = 100_000  # for each seed
COMMON = "alpha words that many documents share"


class Entry(BaseModel):
    """A line of the journal. `keys` are the documents an operation stores or deletes; `revision` is the last that was
    given out when it began, or when it was done."""

    number: int
    what: str
    done: bool
    keys: tuple[Key, ...] = ()
    stamp: int = 0
    revision: int = 0


@dataclass(frozen=True)
class Slow(LetterEmbedder):
    """Takes its time, so that builds are killed while they embed."""

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        time.sleep(0.002)
        return super().encode(texts, advance)


@dataclass
class Work:
    """One child's work."""

    home: Path
    seed: int
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.database = Database(self.home / "ragtune.db")
        self.indexes = Indexes(self.home, self.database)
        self.jobs = Jobs(self.database, self.home)
        self.docs = self.home / "docs"
        self._stamps = count(self.seed * STAMPS + 1)
        self._journal = (self.home / "journal").open("ab", buffering=0)

    def build_for_ever(self) -> None:
        """The first build begins at once: whatever a killed child has left must not be in its way."""
        self.change_files()
        self.build(hide=False)
        while True:
            what = self.draw.choice(("change",) * 4 + ("build",) * 4 + ("sync", "rollback", "collect"))
            if what == "change":
                self.change_files()
            elif what in ("build", "sync"):
                self.build(hide=what == "sync")
            elif what == "rollback":
                with suppress(UnknownName, RagtuneError):
                    self.indexes.versions.rollback(INDEX)
            else:
                self.collect()

    def upload_for_ever(self) -> None:
        """Beside it, on the same documents."""
        draw = random.Random(-self.seed)
        while True:
            if draw.random() < 0.6:
                self.upload(draw.choice(UPLOADS))
            else:
                self.delete(draw.choice((*UPLOADS, *(("", name) for name in FILES))))
            time.sleep(draw.uniform(0, 0.02))

    def change_files(self) -> None:
        """Write some files, and remove one."""
        for name in self.draw.sample(FILES, 3):
            (self.docs / name).write_text(content(next(self._stamps), self.draw, markdown=name.endswith(".md")))
        (self.docs / self.draw.choice(FILES)).unlink(missing_ok=True)

    def build(self, *, hide: bool) -> None:
        """Publish the folder and the uploads; with `hide`, what is gone from the folder is deleted."""
        spec = BuildSpec(index=INDEX, path=str(self.docs), max_tokens=32, hide=hide)
        gone = [("", name) for name in FILES if not (self.docs / name).exists()]
        with (
            suppress(RefusedArtifact),  # a folder without a file
            self.journal("delete" if hide else "build", gone if hide else ()),
            self.jobs.run(JOB, resource(INDEX), spec.model_dump(mode="json")) as running,
        ):
            build_from(
                spec,
                self.indexes,
                Model.loaded(Slow()),
                lambda stage, done, total: running.progress(done, total or None, unit="passages", stage=stage),
                together=4,
            )

    def collect(self) -> None:
        """Delete former versions."""
        for version in outdated(self.indexes, ModeAliases(self.database), INDEX, Settings(index_versions=KEPT)):
            for gone in self.indexes.versions.forget(Ref(INDEX, str(version.number))):
                self.indexes.versions.discard(gone)

    def upload(self, key: Key) -> None:
        """Store a new content under this key."""
        tenant, name = key
        stamp = next(self._stamps)
        document = Document(name, name, content(stamp, random.Random(stamp), markdown=False))
        with self.journal("put", [key], stamp):
            source = Source(UPLOAD + name, str(stamp), READER)
            self.indexes.documents.put(INDEX, tenant, [(source, [document])], author="")

    def delete(self, key: Key) -> None:
        """Delete what is stored under this key, if there is anything."""
        with suppress(UnknownName), self.journal("delete", [key]):
            delete_document(self.indexes, INDEX, *key)

    @contextmanager
    def journal(self, what: str, keys: Sequence[Key], stamp: int = 0) -> Iterator[None]:
        """Write down before and after. What nobody expects is written down, too."""
        entry = Entry(number=next(self._stamps), what=what, done=False, keys=tuple(keys), stamp=stamp)
        self._write(entry)
        try:
            yield
        except (UnknownName, RefusedArtifact):
            self._write(entry.model_copy(update={"what": "refused"}))
            raise
        except BaseException:
            self._write(entry.model_copy(update={"what": f"surprise: {traceback.format_exc()}"}))
            raise
        self._write(entry.model_copy(update={"done": True}))

    def _write(self, entry: Entry) -> None:
        entry = entry.model_copy(update={"revision": last_revision(self.database)})
        self._journal.write(entry.model_dump_json().encode() + b"\n")
        os.fsync(self._journal.fileno())


def content(stamp: int, draw: random.Random, *, markdown: bool) -> str:
    """Some paragraphs, each with the stamp, and one that many documents share."""
    words = (" ".join(draw.choices(("beta", "gamma", "delta", "epsilon", "zeta"), k=20)) for _ in range(3))
    parts = [f"alpha stamp{stamp} {some}" for some in list(words)[: draw.randrange(1, 4)]]
    parts.insert(draw.randrange(len(parts) + 1), COMMON)
    return "\n\n".join(f"# Part {n}\n\n{part}" if markdown else part for n, part in enumerate(parts))


def last_revision(database: Database) -> int:
    """The newest revision that any document was ever given."""
    with database.read() as connection:
        query = text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'document'")
        return int(connection.execute(query).scalar_one())


def main() -> None:
    """Fork, and say when the child is gone."""
    home = Path(sys.argv[1])
    (home / "docs").mkdir(exist_ok=True)
    for seed in sys.stdin:
        child = os.fork()
        if child == 0:
            work = Work(home, int(seed))
            threading.Thread(target=work.upload_for_ever, daemon=True).start()
            work.build_for_ever()
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
