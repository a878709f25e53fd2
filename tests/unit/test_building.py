"""Builds: what a change costs, what a folder that has changed leaves, what an ended build is worth."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from indexer.build import Built
from indexer.building import BuildSpec, Finished, build_from
from indexer.contents import read_documents, read_records
from indexer.deleting import delete_document, forget_index
from indexer.dense import read_vectors
from indexer.documents import Document
from indexer.embedding import Vectors
from indexer.model import Model
from indexer.outdated import is_behind, outdated
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import Indexes
from indexer.stored_documents import UPLOAD, Source
from indexer.syncing import sync
from ragtune.errors import AlreadyRunning, RefusedArtifact, UnknownName
from ragtune.jobs import Jobs
from ragtune.mode import Mode, Ref
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.store import Database
from tests.fakes import LetterEmbedder


@dataclass(frozen=True)
class Counting(LetterEmbedder):
    """Remembers what it was asked to embed, and fails after `most` texts."""

    embedded: list[str] = field(default_factory=list)
    most: int = 10**9

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        if len(self.embedded) + len(texts) > self.most:
            raise RuntimeError("out of memory")
        self.embedded.extend(texts)
        return super().encode(texts, advance)


@dataclass
class Home:
    """A folder of documents, and a home to build it in."""

    docs: Path
    indexes: Indexes
    aliases: ModeAliases
    embedder: Counting = field(default_factory=Counting)
    loads: int = 0
    together: int = 512

    def finish(self, *, hide: bool = False, path: bool = True, max_tokens: int = 64) -> Finished:
        def load() -> Counting:
            self.loads += 1
            return self.embedder

        spec = BuildSpec(index="letters", path=str(self.docs) if path else None, hide=hide, max_tokens=max_tokens)
        return build_from(
            spec, self.indexes, Model(self.embedder.id, self.embedder.fingerprint, load), together=self.together
        )

    def build(self, *, hide: bool = False, path: bool = True, max_tokens: int = 64) -> Built:
        return self.finish(hide=hide, path=path, max_tokens=max_tokens).built

    def found(self, query: str, version: str = "letters", tenant: str | None = None) -> set[str]:
        retriever = Retriever(self.embedder, hidden=self.indexes.documents.hidden)
        search = Search(query=query, method="dense", top_k=99, tenant=tenant)
        return {passage.document for passage in retriever.search(self.indexes.resolve(Ref.parse(version)), search)}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    docs, database = tmp_path / "docs", Database(tmp_path / "db")
    docs.mkdir()
    for number, letters in enumerate(("aaa", "bbb", "ccc", "ddd")):
        (docs / f"{letters}.md").write_text(f"# {letters}\n\n{letters} word{number}\n\n## More\n\n{letters} {letters}")
    return Home(docs, Indexes(tmp_path, database), ModeAliases(database))


def test_one_changed_document_costs_its_own_embedding_only(home: Home) -> None:
    first = home.build()
    assert (len(home.embedder.embedded), first.version.manifest.embedded) == (8, 8)
    home.embedder.embedded.clear()
    (home.docs / "bbb.md").write_text("# bbb\n\nbbb word1\n\n## More\n\nentirely new")
    second = home.build()
    assert home.embedder.embedded == ["bbb > More\nentirely new"]  # the other passage of it is the same text
    assert (second.version.number, second.version.manifest.embedded, second.version.manifest.passages) == (2, 1, 8)
    paid, last = (first.version.manifest, second.version.manifest)
    assert paid.paid_seconds == paid.seconds
    assert last.paid_seconds == pytest.approx(paid.seconds + last.seconds)


def test_a_rebuild_has_the_vectors_a_fresh_build_would_have(home: Home, tmp_path: Path) -> None:
    home.build()
    (home.docs / "ccc.md").write_text("ccc changed")
    (home.docs / "aaa.md").unlink()
    (home.docs / "eee.txt").write_text("eee")
    rebuilt = home.build().version
    other = Indexes(tmp_path / "other", Database(tmp_path / "other-db"))
    fresh = build_from(BuildSpec(index="letters", path=str(home.docs), max_tokens=64), other, Model.loaded(Counting()))
    a, b = rebuilt.folder, fresh.built.version.folder
    assert np.array_equal(read_vectors(a), read_vectors(b))
    assert [r.model_copy(update={"revision": 0}) for r in read_records(a)] == [
        r.model_copy(update={"revision": 0}) for r in read_records(b)
    ]
    assert rebuilt.manifest.corpus_sha256 == fresh.built.version.manifest.corpus_sha256


def test_nothing_is_read_or_loaded_where_nothing_has_changed(home: Home) -> None:
    home.build()
    loads = home.loads
    again = home.finish()
    assert again.built.unchanged and home.loads == loads
    assert again.synced is not None and (again.synced.read, again.synced.kept) == (0, 4)


def test_a_document_that_only_leaves_needs_no_embedding_model(home: Home) -> None:
    home.build()
    loads = home.loads
    (home.docs / "aaa.md").unlink()
    assert home.build().version.manifest.documents == 3
    assert home.loads == loads


def test_other_settings_build_anew(home: Home) -> None:
    home.build()
    assert not home.build(max_tokens=32).unchanged
    home.embedder = Counting(fingerprint="letters-2")
    anew = home.build(max_tokens=32).version.manifest
    assert (anew.embedded, anew.paid_seconds) == (8, anew.seconds)


def test_what_is_gone_from_the_folder_stays_in_former_versions_unless_it_is_to_be_hidden(home: Home) -> None:
    home.build()
    (home.docs / "aaa.md").unlink()
    assert home.finish().synced.gone == 1  # type: ignore[union-attr]
    assert "aaa.md" in home.found("aaa", "letters@1") and "aaa.md" not in home.found("aaa")
    (home.docs / "bbb.md").unlink()
    home.build(hide=True)
    everywhere = home.found("bbb", "letters@1") | home.found("bbb", "letters@2") | home.found("bbb")
    assert not {"aaa.md", "bbb.md"} & everywhere


def test_a_deleted_document_is_gone_from_every_version_at_once_and_no_rollback_brings_it_back(
    home: Home,
) -> None:
    home.build()
    (home.docs / "ccc.md").write_text("ccc new")
    home.build()
    delete_document(home.indexes, "letters", "", "ccc.md")
    assert "ccc.md" not in home.found("ccc") | home.found("ccc", "letters@1")
    home.indexes.versions.rollback("letters")
    assert "ccc.md" not in home.found("ccc")
    home.build()  # its file is still there, and unchanged: deleted is deleted
    assert "ccc.md" not in home.found("ccc")


def test_a_deleted_document_that_is_stored_again_is_found_in_new_versions_only(home: Home) -> None:
    home.build()
    delete_document(home.indexes, "letters", "", "aaa.md")
    (home.docs / "aaa.md").write_text("# aaa\n\naaa word0\n\n## More\n\naaa aaa\n")
    again = home.build()
    assert not again.unchanged
    assert "aaa.md" in home.found("aaa") and "aaa.md" not in home.found("aaa", "letters@1")


def test_a_document_that_only_a_former_version_has_can_be_deleted(home: Home) -> None:
    home.build()
    (home.docs / "aaa.md").unlink()
    home.build()
    delete_document(home.indexes, "letters", "", "aaa.md")
    assert "aaa.md" not in home.found("aaa", "letters@1")
    with pytest.raises(UnknownName):
        delete_document(home.indexes, "letters", "", "aaa.md")
    with pytest.raises(UnknownName):
        delete_document(home.indexes, "letters", "", "never.md")


def test_a_build_that_failed_goes_on_where_it_was(home: Home) -> None:
    home.together = 3
    home.embedder = Counting(most=7)
    with pytest.raises(RuntimeError):
        home.build()
    assert home.indexes.versions.names() == []
    before = list(home.embedder.embedded)
    spent = float(next(home.indexes.folder.glob(".partial/*.seconds")).read_text())
    home.embedder = Counting()
    built = home.build().version.manifest
    assert built.embedded == 8 - len(before) == 2
    assert built.paid_seconds == built.seconds > spent > 0, "what the ended build took is counted, too"
    assert set(before) & set(home.embedder.embedded) == set()
    assert not list(home.indexes.folder.glob(".partial/*"))


def test_a_cut_off_record_of_an_ended_build_is_embedded_again(home: Home) -> None:
    home.together = 3
    home.embedder = Counting(most=7)
    with pytest.raises(RuntimeError):
        home.build()
    (partial,) = home.indexes.folder.glob(".partial/*.vectors")
    with partial.open("r+b") as file:
        file.truncate(partial.stat().st_size - 5)
    home.embedder = Counting()
    built = home.build()
    assert built.version.manifest.embedded == 3
    texts = [record.searched_text for record in read_records(built.version.folder)]
    assert np.array_equal(read_vectors(built.version.folder), LetterEmbedder().encode(texts))


def test_documents_that_change_or_leave_while_a_build_is_at_them_do_not_end_it(home: Home) -> None:
    documents = home.indexes.documents

    def load() -> Counting:
        delete_document(home.indexes, "letters", "", "bbb.md")
        changed = Document("ccc.md", "ccc", "ccc by now")
        documents.put("letters", "", [(Source("ccc.md", "changed", 1), [changed])], author="")
        return home.embedder

    spec = BuildSpec(index="letters", path=str(home.docs), max_tokens=64)
    model = Model(home.embedder.id, home.embedder.fingerprint, load)
    version = build_from(spec, home.indexes, model, together=1).built.version
    texts = {record.document: record.text for record in read_records(version.folder)}
    assert sorted(texts) == ["aaa.md", "ccc.md", "ddd.md"] and texts["ccc.md"] == "ccc by now"
    assert version.manifest.documents == 3
    assert version.manifest.corpus_sha256 == documents.snapshot("letters").content
    assert version.manifest.revisions_sha256 == documents.snapshot("letters").revisions


def test_documents_without_text_publish_nothing(home: Home) -> None:
    read = [(Source(f"{UPLOAD}blank", "new", 1), [Document("blank", "blank", " ")])]
    home.indexes.documents.put("letters", "", read, author="")
    with pytest.raises(RefusedArtifact, match="hold no text"):
        home.build(path=False)


def test_what_is_uploaded_while_a_folder_is_read_stays(home: Home) -> None:
    documents = home.indexes.documents

    def upload(_done: int, _total: int) -> None:
        read = [(Source(f"{UPLOAD}note", "new", 1), [Document("note", "note", "a note")])]
        documents.put("letters", "", read, author="")

    assert sync(home.docs, "letters", documents, advance=upload).gone == 0
    assert documents.get("letters", "", "note").source == "upload:note"


def test_a_folder_that_holds_nothing_leaves_the_index_as_it_was(home: Home) -> None:
    home.build()
    for file in home.docs.iterdir():
        file.unlink()
    with pytest.raises(RefusedArtifact, match="no document in"):
        home.build()
    (home.docs / "empty.md").write_text(" ")
    assert len(home.indexes.documents.snapshot("letters").documents) == 4


def test_a_broken_file_is_told_in_every_version_until_it_is_mended(home: Home) -> None:
    (home.docs / "bad.txt").write_bytes(b"\x00\xff\x00")
    assert [problem.source for problem in home.build().version.manifest.problems] == ["bad.txt"]
    (home.docs / "aaa.md").unlink()
    assert [problem.source for problem in home.build().version.manifest.problems] == ["bad.txt"]
    (home.docs / "bad.txt").write_text("good")
    assert home.build().version.manifest.problems == ()


def test_a_broken_file_is_told_also_where_nothing_else_has_changed_until_it_is_gone(home: Home) -> None:
    home.build()
    (home.docs / "bad.txt").write_bytes(b"\x00\xff\x00")
    again = home.build()
    assert again.unchanged and [problem.source for problem in again.problems] == ["bad.txt"]
    (home.docs / "bad.txt").unlink()
    assert home.build().problems == ()


def test_the_versions_documents_and_checks_stand_in_the_manifest_and_folder(home: Home) -> None:
    version = home.build().version
    assert [document.id for document in read_documents(version.folder)] == ["aaa.md", "bbb.md", "ccc.md", "ddd.md"]
    checks = version.manifest.checks
    assert checks is not None and (checks.canaries, checks.dense, checks.recall) == (8, 8, 1.0)


def test_vectors_that_are_no_numbers_publish_nothing(home: Home) -> None:
    class Broken(Counting):
        def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
            return np.full((len(texts), 27), np.nan, dtype=np.float32)

    home.embedder = Broken()
    with pytest.raises(RefusedArtifact, match="not finite"):
        home.build()
    assert home.indexes.versions.names() == []


def test_former_versions_are_kept_as_many_as_wanted_and_all_that_something_means(home: Home) -> None:
    for number in range(6):
        (home.docs / "aaa.md").write_text(f"aaa {'x' * number}")
        home.build()
    home.indexes.versions.set_alias("letters", "prod", 2)
    home.aliases.set("best", Mode.parse("rag:letters@1"))
    gone = outdated(home.indexes, home.aliases, "letters", Settings(index_versions=1))
    assert [version.number for version in gone] == [3, 4]
    assert outdated(home.indexes, home.aliases, "letters", Settings(index_versions=9)) == []
    assert outdated(home.indexes, home.aliases, "nothing", Settings()) == []


def records(*ids: str) -> str:
    return "".join(json.dumps({"id": each, "text": f"{each} {each}"}) + "\n" for each in ids)


def stored(home: Home) -> dict[str, str]:
    return {document.id: document.source for document in home.indexes.documents.snapshot("letters").documents}


@pytest.mark.parametrize("hide", [False, True])
def test_records_keep_when_their_file_is_renamed_or_they_move_to_another(home: Home, hide: bool) -> None:
    (home.docs / "b.jsonl").write_text(records("one", "two", "three"))
    home.build(hide=hide)
    (home.docs / "b.jsonl").rename(home.docs / "a.jsonl")
    home.build(hide=hide)
    assert {each: stored(home)[each] for each in ("one", "two", "three")} == dict.fromkeys(
        ("one", "two", "three"), "a.jsonl"
    )
    (home.docs / "a.jsonl").write_text(records("one"))
    (home.docs / "aa.jsonl").write_text(records("two"))
    (home.docs / "0.jsonl").write_text(records("three"))  # read before the file that had it
    home.build(hide=hide)
    assert (stored(home)["one"], stored(home)["two"], stored(home)["three"]) == ("a.jsonl", "aa.jsonl", "0.jsonl")
    assert {"one", "two", "three"} <= home.found("one")


def test_a_file_enters_the_index_once_the_upload_that_had_its_id_is_deleted(home: Home) -> None:
    read = [(Source(f"{UPLOAD}aaa.md", "new", 1), [Document("aaa.md", "", "uploaded")])]
    home.indexes.documents.put("letters", "", read, author="")
    assert [problem.source for problem in home.build().problems] == ["aaa.md"]
    delete_document(home.indexes, "letters", "", "aaa.md")
    assert home.build().problems == () and stored(home)["aaa.md"] == "aaa.md"


def test_a_sync_deletes_what_left_a_file_that_stays_and_what_a_build_left_out_before(home: Home) -> None:
    (home.docs / "b.jsonl").write_text(records("one", "two"))
    home.build()
    (home.docs / "aaa.md").unlink()
    home.build()
    (home.docs / "b.jsonl").write_text(records("one"))
    home.build(hide=True)
    assert not {"two", "aaa.md"} & (home.found("two", "letters@1") | home.found("two", "letters@2"))
    assert "one" in home.found("one", "letters@1")


@pytest.mark.parametrize("hide", [False, True])
def test_what_cannot_be_looked_at_keeps_what_it_had(home: Home, tmp_path: Path, hide: bool) -> None:
    (home.docs / "far.md").write_text("far away")
    home.build()
    (home.docs / "far.md").unlink()
    (home.docs / "far.md").symlink_to(tmp_path / "not-mounted.md")
    again = home.build(hide=hide)
    assert "far.md" in stored(home) and "far.md" in home.found("far", "letters@1")
    assert [problem.source for problem in again.problems] == ["far.md"]


def test_what_a_build_has_begun_with_can_be_deleted_though_nothing_has_it_yet(home: Home) -> None:
    def during(stage: str, _done: int, _total: int) -> None:
        if stage == "embedding" and "aaa.md" in stored(home):
            (home.docs / "aaa.md").unlink()
            home.indexes.documents.keep("letters", "", {"bbb.md", "ccc.md", "ddd.md", ""})
            with pytest.raises(UnknownName):
                delete_document(home.indexes, "letters", "", "aaa.md")

    build_from(BuildSpec(index="letters", path=str(home.docs)), home.indexes, Model.loaded(home.embedder), during)
    assert "aaa.md" not in home.found("aaa")


def test_an_index_that_is_deleted_stays_deleted_and_its_hidden_documents_hidden(home: Home, tmp_path: Path) -> None:
    jobs = Jobs(home.indexes.documents._database, tmp_path)
    version = home.build().version
    delete_document(home.indexes, "letters", "", "aaa.md")
    with jobs.run("index build", "index:letters", {}), pytest.raises(AlreadyRunning):
        forget_index(home.indexes, jobs, "letters", "ada")
    assert [str(each) for each in forget_index(home.indexes, jobs, "letters", "ada")] == ["letters@1"]
    retriever = Retriever(home.embedder, hidden=home.indexes.documents.hidden)
    held = retriever.search(version, Search(query="aaa", method="dense", top_k=99))
    assert {passage.document for passage in held} == {"bbb.md", "ccc.md", "ddd.md"}
    with pytest.raises(RefusedArtifact, match="no documents"):
        home.build(path=False)
    with pytest.raises(UnknownName):
        forget_index(home.indexes, jobs, "letters", "ada")


def test_an_upload_that_no_version_has_yet_is_noticed_whatever_built_the_version(home: Home) -> None:
    version = home.build().version
    assert not is_behind(home.indexes, "letters")
    read = [(Source(f"{UPLOAD}note", "new", 1), [Document("note", "note", "a note")])]
    home.indexes.documents.put("letters", "", read, author="")
    assert is_behind(home.indexes, "letters")
    (version.folder / "documents.jsonl").unlink()  # as an older ragtune left it
    assert is_behind(home.indexes, "letters")


def test_passages_stay_as_long_as_they_were_where_nobody_says(home: Home) -> None:
    home.build(max_tokens=33)
    (home.docs / "eee.md").write_text("eee")
    spec = BuildSpec(index="letters", path=str(home.docs))
    assert build_from(spec, home.indexes, Model.loaded(home.embedder)).built.version.manifest.max_tokens == 33
