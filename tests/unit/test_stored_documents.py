"""The documents of an index: what a change of them is, what is hidden, and what leaves nothing behind."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from indexer.documents import Document, Problem
from indexer.stored_documents import Change, Source, StoredDocuments
from ragtune.errors import UnknownName
from ragtune.store import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "db")


@pytest.fixture
def documents(database: Database) -> StoredDocuments:
    return StoredDocuments(database)


def put(
    documents: StoredDocuments, source: str, *read: Document, tenant: str = "", problems: Sequence[Problem] = ()
) -> dict[str, Change]:
    read_from = Source(source, "hash", 1, tuple(problems))
    return documents.put("letters", tenant, [(read_from, read)], author="ada").changes


def doc(id: str, text: str = "aaa") -> Document:  # noqa: A002
    return Document(id, id.upper(), text)


def ids(documents: StoredDocuments) -> list[tuple[str, str]]:
    return [(document.tenant, document.id) for document in documents.snapshot("letters").documents]


def test_the_same_content_is_no_change_and_another_has_a_new_revision(documents: StoredDocuments) -> None:
    assert put(documents, "a.txt", doc("a")) == {"a": "added"}
    before = documents.snapshot("letters")
    assert put(documents, "a.txt", doc("a")) == {"a": "unchanged"}
    assert documents.snapshot("letters").revisions == before.revisions
    assert put(documents, "a.txt", doc("a", "bbb")) == {"a": "changed"}
    after = documents.snapshot("letters")
    assert after.documents[0].revision > before.documents[0].revision
    assert (after.revisions == before.revisions, after.content == before.content) == (False, False)
    assert list(documents.texts(after.documents).values()) == ["bbb"]


def test_equal_content_has_an_equal_hash_in_any_home(tmp_path: Path, documents: StoredDocuments) -> None:
    other = StoredDocuments(Database(tmp_path / "other"))
    put(other, "b.txt", doc("b"))
    for store in (documents, other):
        put(store, "a.txt", doc("a"))
    put(documents, "b.txt", doc("b"))
    one, two = documents.snapshot("letters"), other.snapshot("letters")
    assert one.content == two.content and one.revisions != two.revisions


def test_an_id_belongs_to_the_source_that_had_it_first(documents: StoredDocuments) -> None:
    put(documents, "a.jsonl", doc("x"), doc("y"))
    assert put(documents, "b.jsonl", doc("y", "other"), doc("z"), doc("z")) == {"z": "added"}
    problems = documents.snapshot("letters").problems
    assert [(p.source, p.reason) for p in problems] == [
        ("y", "a.jsonl has this id already"),
        ("z", "a second document with this id"),
    ]


def test_what_a_source_no_longer_holds_leaves_but_is_not_hidden(documents: StoredDocuments) -> None:
    put(documents, "a.jsonl", doc("x"), doc("y"))
    put(documents, "a.jsonl", doc("y"))
    assert ids(documents) == [("", "y")]
    assert documents.hidden("letters").revisions == {}


def test_sources_that_are_gone_take_their_documents_along(documents: StoredDocuments) -> None:
    put(documents, "a.txt", doc("a"))
    put(documents, "b.txt", doc("b"))
    put(documents, "b.txt", doc("b"), tenant="eve")
    assert documents.keep("letters", "", {"a.txt"}) == 1
    assert ids(documents) == [("", "a"), ("eve", "b")]
    assert documents.hidden("letters").revisions == {}
    assert documents.hide("letters", "", {"a", "b"}) == 1  # what is stored is not hidden
    assert list(documents.hidden("letters").revisions) == [("", "b")]


def test_a_deleted_document_is_hidden_up_to_then_and_visible_once_it_comes_again(documents: StoredDocuments) -> None:
    put(documents, "a.txt", doc("a"))
    first = documents.get("letters", "", "a").revision
    documents.delete("letters", "", "a")
    hidden = documents.hidden("letters")
    assert hidden.revisions[("", "a")] >= first and ids(documents) == []
    put(documents, "a.txt", doc("a"))
    again = documents.get("letters", "", "a").revision
    assert documents.hidden("letters").revisions[("", "a")] < again


def test_hidden_is_the_same_object_until_something_is_deleted(documents: StoredDocuments) -> None:
    put(documents, "a.txt", doc("a"))
    before = documents.hidden("letters")
    assert documents.hidden("letters", before) is before
    documents.delete("letters", "", "a")
    after = documents.hidden("letters", before)
    assert after is not before and after != before


def test_a_deleted_text_is_nowhere_in_the_database_any_more(documents: StoredDocuments, database: Database) -> None:
    put(documents, "a.txt", doc("a", "a secret"))
    put(documents, "b.txt", doc("b", "a secret"), tenant="eve")
    documents.delete("letters", "", "a")
    assert documents.texts(documents.snapshot("letters").documents)  # the other one's is still there
    documents.delete("letters", "eve", "b")
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM document_text")).scalar_one() == 0


def test_pages_go_through_all_documents_of_those_who_may_see_them(documents: StoredDocuments) -> None:
    put(documents, "x.jsonl", *(doc(f"d{number}") for number in range(5)))
    put(documents, "y.jsonl", doc("d0"), tenant="eve")
    put(documents, "y.jsonl", doc("d0"), tenant="ada")
    seen: list[tuple[str, str]] = []
    after = None
    while page := documents.page("letters", {"", "eve"}, after, 2):
        seen += [(document.tenant, document.id) for document in page]
        after = seen[-1]
    assert seen == [*(("", f"d{number}") for number in range(5)), ("eve", "d0")]


def test_an_unknown_document_is_told_with_near_ones_of_the_same_tenant(documents: StoredDocuments) -> None:
    put(documents, "a.txt", doc("returns.md"))
    put(documents, "b.txt", doc("returned.md"), tenant="eve")
    with pytest.raises(UnknownName, match=r"of index 'letters': 'return\.md'; did you mean 'returns\.md'") as caught:
        documents.get("letters", "", "return.md")
    assert "returned" not in caught.value.message


def test_dropping_an_index_leaves_the_others(documents: StoredDocuments) -> None:
    put(documents, "a.txt", doc("a"))
    documents.put("others", "", [(Source("a.txt", "hash", 1), [doc("a")])], author="")
    documents.delete("letters", "", "a")
    documents.drop("letters")
    assert documents.indexes() == ["others"]
    assert list(documents.hidden("letters").revisions) == [("", "a")]  # somebody may still search a version of it
    assert len(documents.texts(documents.snapshot("others").documents)) == 1


def test_a_source_that_clashed_is_read_again_and_one_that_is_gone_has_no_ids(documents: StoredDocuments) -> None:
    put(documents, "b.jsonl", doc("x"), doc("y"))
    put(documents, "a.jsonl", doc("x"))
    assert documents.sources("letters", "")["a.jsonl"][0] == "" and documents.sources("letters", "")["b.jsonl"][0]
    moved = [(Source("a.jsonl", "hash", 1), [doc("x")])]
    assert documents.put("letters", "", moved, author="", live={"a.jsonl"}).problems == []
    assert documents.get("letters", "", "x").source == "a.jsonl"


def test_a_deleted_upload_takes_its_problems_along(documents: StoredDocuments) -> None:
    put(documents, "upload:a.jsonl", doc("x"), problems=[Problem(source="a.jsonl, line 2", reason="broken")])
    documents.delete("letters", "", "x")
    assert documents.snapshot("letters").problems == ()
