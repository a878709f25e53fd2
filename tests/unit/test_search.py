"""Searching a version: by meaning, by words, by both, and never what may not be seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.contents import Contents, read_documents, read_records, write
from indexer.dense import read_vectors
from indexer.fusion import fuse
from indexer.record import Found, Record
from indexer.retriever import Retriever
from indexer.search import Hidden, Method, Search, nothing
from indexer.store import IndexManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, Unavailable
from ragtune.settings import Settings
from ragtune.versions import Version
from ragtune.wire import Retrieving
from tests.fakes import LetterEmbedder
from tests.small_index import document, index_of

METHODS: tuple[Method, ...] = ("dense", "lexical", "hybrid")
every_method = pytest.mark.parametrize("method", METHODS)
TEXTS = ("apple apple", "apple banana", "banana cherry", "cherry cherry", "damson")


def ids(found: Sequence[Found]) -> list[str]:
    return [passage.id for passage in found]


def ask(version: Version[IndexManifest], hidden: Hidden = nothing, **search: object) -> list[Found]:
    search = {"query": "apple", "top_k": 50} | search
    return Retriever(LetterEmbedder(), hidden=lambda _index, _known: hidden).search(
        version, Search.model_validate(search)
    )


@pytest.fixture
def fruit(tmp_path: Path) -> Version[IndexManifest]:
    """One document of no tenant with a passage for each of TEXTS."""
    return index_of(tmp_path / "fruit", (document("fruit"), TEXTS))


@pytest.fixture
def shared(tmp_path: Path) -> Version[IndexManifest]:
    """Two tenants, and a document for both."""
    return index_of(
        tmp_path / "shared",
        (document("menu", "ada", kind="food", year=2024), ["apple pie", "apple cake"]),
        (document("menu", "bob", kind="food", year=2025), ["apple pie", "apple tart", "apple juice"]),
        (document("notes", kind="text", draft=True), ["apple trees"]),
    )


def test_words_find_what_shares_a_stem_and_nothing_else(fruit: Version[IndexManifest]) -> None:
    found = ask(fruit, query="The apples", method="lexical")
    assert ids(found) == ["/fruit/0", "/fruit/1"]
    assert all(passage.scores == {"lexical": passage.score} and passage.score > 0 for passage in found)


@pytest.mark.parametrize("query", ["the of and", "zebra", "!", ""])
def test_a_query_without_a_known_word_finds_nothing_by_words(fruit: Version[IndexManifest], query: str) -> None:
    assert ask(fruit, query=query, method="lexical") == []
    assert len(ask(fruit, query=query, method="hybrid")) == len(TEXTS)  # by meaning everything has some place


@pytest.mark.parametrize("texts", [["a b c", "the"], ["the"], ["!"]])
def test_passages_without_any_word_can_be_stored_and_searched(tmp_path: Path, texts: list[str]) -> None:
    version = index_of(tmp_path / "wordless", (document("d"), texts))
    assert ask(version, query="the", method="lexical") == []
    assert len(ask(version, query="the", method="dense")) == len(texts)


def test_an_index_whose_last_document_is_gone_finds_nothing(tmp_path: Path) -> None:
    write(tmp_path, [], [], np.zeros((0, 27), dtype=np.float32))
    assert len(Contents(tmp_path).dense) == 0
    version = replace(index_of(tmp_path / "other", (document("d"), ["x"])), folder=tmp_path)
    assert [ask(version, method=method) for method in METHODS] == [[], [], []]


def test_ranks_are_fused_as_computed_by_hand() -> None:
    fused = fuse([[(7, 0.9), (3, 0.8), (5, 0.1)], [(3, 12.0), (9, 4.0)]])
    assert fused == [(3, 1 / 62 + 1 / 61), (7, 1 / 61), (9, 1 / 62), (5, 1 / 63)]
    assert fuse([[(2, 1.0)], [(1, 1.0)]]) == [(1, 1 / 61), (2, 1 / 61)]  # equal: the first in the index comes first


def test_a_hybrid_search_fuses_both_legs_and_shows_the_score_of_each(fruit: Version[IndexManifest]) -> None:
    found = ask(fruit, query="cherry", method="hybrid")
    by_id = {passage.id: passage for passage in found}
    for leg in ("dense", "lexical"):
        for passage in ask(fruit, query="cherry", method=leg):
            assert by_id[passage.id].scores[leg] == pytest.approx(passage.score, abs=1e-6)
    first, second = found[:2]
    assert ids(found)[:2] == ["/fruit/3", "/fruit/2"]
    assert (first.score, second.score) == (first.scores["fused"], second.scores["fused"]) == (2 / 61, 2 / 62)
    assert "lexical" not in by_id["/fruit/4"].scores


@every_method
def test_the_same_search_gives_the_same_answer(fruit: Version[IndexManifest], method: Method) -> None:
    assert ask(fruit, method=method) == ask(fruit, method=method)
    assert ids(ask(fruit, method=method, top_k=2)) == ids(ask(fruit, method=method))[:2]


@every_method
def test_equal_passages_come_in_order_of_position(tmp_path: Path, method: Method) -> None:
    version = index_of(tmp_path / "equal", (document("d"), ["apple"] * 250))
    found = ask(version, method=method, top_k=120)
    assert ids(found) == [f"/d/{place}" for place in range(120)]


@every_method
@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_a_tenant_sees_its_own_passages_and_those_of_no_tenant(
    shared: Version[IndexManifest], method: Method, top_k: int
) -> None:
    for tenant, own in (("ada", 2), ("bob", 3), ("eve", 0)):
        found = ask(shared, method=method, tenant=tenant, top_k=top_k)
        assert len(found) == min(top_k, own + 1)
        assert {passage.tenant for passage in found} <= {tenant, ""}
    assert len(ask(shared, method=method, tenant="")) == 1
    assert len(ask(shared, method=method, tenant=None)) == 6


words = st.sampled_from(["apple", "banana", "cherry", "damson"])
texts = st.lists(st.lists(words, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=4)
tenants = st.sampled_from(["", "ada", "bob"])
contents = st.lists(st.tuples(tenants, st.integers(0, 2), texts), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(contents=contents, query=words, tenant=tenants, top_k=st.integers(1, 40), gone=st.sets(st.integers(0, 7)))
def test_nobody_ever_gets_what_is_not_theirs_or_is_hidden(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[tuple[str, int, list[str]]],
    query: str,
    tenant: str,
    top_k: int,
    gone: set[int],
) -> None:
    documents = [document(f"d{i}", owner, kind=kind) for i, (owner, kind, _) in enumerate(contents)]
    folder = tmp_path_factory.mktemp("random") / "index"
    version = index_of(folder, *zip(documents, [texts for _, _, texts in contents], strict=True))
    hidden = Hidden({(documents[i].tenant, f"d{i}"): 0 for i in gone if i < len(documents)})
    theirs = [
        (f"d{i}", text)
        for i, (owner, kind, texts) in enumerate(contents)
        for text in texts
        if owner in ("", tenant) and kind != 2 and i not in gone
    ]
    asked = {"query": query, "tenant": tenant, "top_k": top_k, "filters": {"kind": (0, 1)}}
    for method in METHODS:
        found = ask(version, hidden, method=method, **asked)
        assert len(found) == len(set(ids(found)))
        assert {(passage.document, passage.text) for passage in found} <= set(theirs)
        wanted = [text for _, text in theirs if method != "lexical" or query in text.split()]
        assert len(found) == min(top_k, len(wanted))


@settings(max_examples=40, deadline=None)
@given(
    contents=contents,
    query=words,
    tenant=st.none() | tenants,
    top_k=st.integers(1, 40),
    only=st.none() | st.sets(st.integers(0, 9), max_size=4),
    never=st.sets(st.integers(0, 9), max_size=4),
    gone=st.sets(st.integers(0, 7), max_size=2),
)
def test_a_search_in_named_documents_ranks_as_if_there_were_no_others(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[tuple[str, int, list[str]]],
    query: str,
    tenant: str | None,
    top_k: int,
    only: set[int] | None,
    never: set[int],
    gone: set[int],
) -> None:
    """Against brute force: all that may be seen of the same search, cut down to the named documents afterwards."""
    documents = [document(f"d{i}", owner, kind=kind) for i, (owner, kind, _) in enumerate(contents)]
    folder = tmp_path_factory.mktemp("named") / "index"
    version = index_of(folder, *zip(documents, [texts for _, _, texts in contents], strict=True))
    hidden = Hidden({(documents[i].tenant, f"d{i}"): 0 for i in gone if i < len(documents)})
    asked = {"query": query, "tenant": tenant, "filters": {"kind": (0, 1)}}
    named = {
        "documents": None if only is None else tuple(f"d{i}" for i in sorted(only)),  # some of them are unknown
        "without_documents": tuple(f"d{i}" for i in sorted(never)),
    }
    for method in METHODS:
        everything = ask(version, hidden, method=method, **asked)
        wanted = [
            passage
            for passage in everything
            if (only is None or int(passage.document[1:]) in only) and int(passage.document[1:]) not in never
        ]
        found = ask(version, hidden, method=method, **asked, **named, top_k=top_k)
        assert {passage.id for passage in found} <= {passage.id for passage in wanted}
        assert len(found) == min(top_k, len(wanted))
        if method != "hybrid":  # fused ranks count only those that are looked at
            scores = [passage.score for passage in wanted][:top_k]  # equal ones may change places in the last bits
            assert [passage.score for passage in found] == pytest.approx(scores, abs=1e-6)


@every_method
def test_an_id_is_that_of_every_tenant_who_has_it_and_none_for_a_tenant_who_may_not_see_it(
    shared: Version[IndexManifest], method: Method
) -> None:
    assert len(ask(shared, method=method, documents=("menu",))) == 5
    assert {p.tenant for p in ask(shared, method=method, documents=("menu",), tenant="ada")} == {"ada"}
    assert ask(shared, method=method, documents=("menu",), tenant="eve") == []
    assert ids(ask(shared, method=method, without_documents=("menu", "unknown"))) == ["/notes/0"]
    assert ask(shared, method=method, documents=("unknown",)) == ask(shared, method=method, documents=()) == []
    assert ask(shared, method=method, documents=("notes",), without_documents=("notes",)) == []
    assert len(ask(shared, method=method, documents=("menu",), filters={"year": 2025}, top_k=2)) == 2


@every_method
@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"kind": "food"}, 5),
        ({"kind": ("food", "text")}, 6),
        ({"kind": "food", "year": 2025}, 3),
        ({"year": 2025.0}, 3),
        ({"draft": True}, 1),
        ({"draft": 1}, 0),
        ({"year": "2025"}, 0),
        ({"kind": ()}, 0),
        ({"nobody": "has this"}, 0),
    ],
)
def test_all_filters_must_hold(
    shared: Version[IndexManifest], method: Method, filters: dict[str, object], count: int
) -> None:
    assert len(ask(shared, method=method, filters=filters)) == count


@every_method
def test_a_hidden_document_is_gone_up_to_its_revision_and_only_for_its_tenant(tmp_path: Path, method: Method) -> None:
    version = index_of(
        tmp_path / "revised",
        (document("menu", "ada", revision=3), ["apple pie"]),
        (document("menu", "bob", revision=3), ["apple tart"]),
    )

    def left(revision: int) -> list[str]:
        return sorted(ids(ask(version, Hidden({("ada", "menu"): revision, ("", "unknown"): 9}), method=method)))

    assert left(2) == ["ada/menu/0", "bob/menu/0"]
    assert left(3) == left(4) == ["bob/menu/0"]


def test_what_is_hidden_later_is_hidden_from_the_next_search(shared: Version[IndexManifest]) -> None:
    hidden = iter((Hidden({}, token=1), Hidden({("ada", "menu"): 0}, token=2)))
    retriever = Retriever(LetterEmbedder(), hidden=lambda _index, _known: next(hidden))
    asked = Search(query="apple", tenant="ada", top_k=9)
    before, after = retriever.search(shared, asked), retriever.search(shared, asked)
    assert (len(before), ids(after)) == (3, ["/notes/0"])


def test_a_minimum_score_is_a_cosine_unless_only_words_are_searched(fruit: Version[IndexManifest]) -> None:
    for method in ("dense", "hybrid"):
        found = ask(fruit, method=method, min_score=0.6)
        assert found and all(passage.scores["dense"] >= 0.6 for passage in found)
        assert len(found) < len(ask(fruit, method=method))
        assert ask(fruit, method=method, min_score=1.1) == []
    best, second = ask(fruit, method="lexical")
    assert ids(ask(fruit, method="lexical", min_score=(best.score + second.score) / 2)) == [best.id]


def test_only_words_are_searched_without_an_embedding_model(fruit: Version[IndexManifest]) -> None:
    other = replace(fruit, manifest=fruit.manifest.model_copy(update={"embedding_fingerprint": "another"}))
    retriever = Retriever(None)
    assert len(retriever.search(other, Search(query="apple", method="lexical"))) == 2
    for method in ("dense", "hybrid"):
        with pytest.raises(Unavailable, match="no embedding model"):
            retriever.search(fruit, Search(query="apple", method=method))
        with pytest.raises(IncompatibleParts, match="rebuild it"):
            Retriever(LetterEmbedder()).search(other, Search(query="apple", method=method))


def test_the_settings_say_how_a_bare_query_is_searched() -> None:
    plain = Search.under(Settings(retrieval="lexical", top_k=7), "apple")
    assert (plain.method, plain.top_k, plain.rerank, plain.tenant) == ("lexical", 7, False, None)
    assert Search.under(Settings(reranker="some/model"), "apple", Retrieving(top_k=2)) == Search(
        query="apple", top_k=2, rerank=True
    )


class Shortest:
    """Prefers the text with the fewest letters: the score is one over their number."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        return [1 / len(text) for text in texts]


@every_method
def test_a_reranker_has_the_last_word(fruit: Version[IndexManifest], method: Method) -> None:
    retriever = Retriever(LetterEmbedder(), Shortest())
    asked = Search(query="banana apple", method=method, top_k=2, rerank=True)
    found = retriever.search(fruit, asked)
    assert [passage.score for passage in found] == sorted((p.scores["rerank"] for p in found), reverse=True)
    assert found[0].text == ("damson" if method != "lexical" else "apple apple")
    assert retriever.search(fruit, asked.model_copy(update={"min_score": 1.0})) == []


def test_reranking_without_a_reranker_is_refused(fruit: Version[IndexManifest]) -> None:
    with pytest.raises(InvalidRequest, match="RAGTUNE_RERANKER"):
        ask(fruit, rerank=True)


def test_an_index_of_an_older_ragtune_is_refused_with_what_to_do(fruit: Version[IndexManifest]) -> None:
    (fruit.folder / "offsets.npy").unlink()
    with pytest.raises(IncompatibleParts, match="built by an older ragtune; rebuild it"):
        ask(fruit)


def test_a_folder_that_is_gone_or_mixed_up_is_no_search_without_results(tmp_path: Path) -> None:
    version = index_of(tmp_path / "one", (document("d"), ["apple"]))
    other = index_of(tmp_path / "two", (document("d"), ["apple", "banana"]))
    (other.folder / "vectors.faiss").replace(version.folder / "vectors.faiss")
    with pytest.raises(ValueError, match="different numbers of passages"):
        ask(version)
    with pytest.raises(OSError):
        ask(replace(version, folder=tmp_path / "nowhere"))


def test_what_is_written_can_be_read_again_for_the_next_build(tmp_path: Path) -> None:
    version = index_of(
        tmp_path / "again", (document("é", "ada", 2, kind="x"), ["äpfel\n", "\u2028"]), (document("e"), [])
    )
    assert [record.text for record in read_records(version.folder)] == ["äpfel\n", "\u2028"]
    assert list(read_documents(version.folder)) == [document("é", "ada", 2, kind="x"), document("e")]
    assert np.array_equal(read_vectors(version.folder), LetterEmbedder().encode(["äpfel\n", "\u2028"]))
    assert ids(ask(version, query="äpfel", method="lexical")) == ["ada/é/0"]


def test_a_passage_of_no_document_is_not_written(tmp_path: Path) -> None:
    stray = Record(id="1", document="d", revision=2, text="x", start=0, end=1)
    with pytest.raises(ValueError, match="belongs to none of the documents"):
        write(tmp_path, [stray], [document("d", revision=1)], LetterEmbedder().encode(["x"]))


def test_threads_searching_at_once_each_get_their_own_answer(shared: Version[IndexManifest]) -> None:
    retriever = Retriever(LetterEmbedder())
    alone = {tenant: retriever.search(shared, Search(query="apple tart", tenant=tenant)) for tenant in ("ada", "bob")}
    wrong: list[str] = []

    def go(tenant: str) -> None:
        for _ in range(50):
            if retriever.search(shared, Search(query="apple tart", tenant=tenant)) != alone[tenant]:
                wrong.append(tenant)

    threads = [Thread(target=go, args=(tenant,)) for tenant in ("ada", "bob") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
