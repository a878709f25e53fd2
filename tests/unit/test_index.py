"""Building and searching an index, with an embedder whose vectors can be computed by eye."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.build import build
from indexer.embedding import Vectors
from indexer.model import Model
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import Indexes
from ragtune.errors import IncompatibleParts, InvalidRequest
from ragtune.store import Database
from tests.fakes import LetterEmbedder
from tests.small_index import build_index


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("aaa", "bbb", "ccc"):
        (folder / f"{name}.txt").write_text(name * 3)
    return folder


@pytest.fixture
def indexes(tmp_path: Path) -> Indexes:
    return Indexes(tmp_path, Database(tmp_path / "db"))


def dense(query: str, top_k: int) -> Search:
    return Search(query=query, method="dense", top_k=top_k)


def test_the_nearest_passage_comes_first_with_its_span(docs: Path, indexes: Indexes) -> None:
    version = build_index(docs, "letters", indexes, LetterEmbedder()).version
    found = Retriever(LetterEmbedder()).search(version, dense("b", 2))
    assert (found[0].document, found[0].text, found[0].start, found[0].end) == ("bbb.txt", "bbbbbbbbb", 0, 9)
    assert found[0].score > found[1].score


def test_asking_for_more_than_there_is_gives_what_there_is(docs: Path, indexes: Indexes) -> None:
    version = build_index(docs, "letters", indexes, LetterEmbedder()).version
    found = Retriever(LetterEmbedder()).search(version, dense("a", 50))
    assert len(found) == 3 and len({p.id for p in found}) == 3


def test_search_equals_brute_force(docs: Path, indexes: Indexes) -> None:
    embedder = LetterEmbedder()
    version = build_index(docs, "letters", indexes, embedder).version
    passages = Retriever(embedder).search(version, dense("aab", 3))
    texts = [f"{' > '.join(p.heading)}\n{p.text}" for p in passages]
    cosines = embedder.encode(texts) @ embedder.encode(["aab"])[0]
    assert np.allclose([p.score for p in passages], cosines, atol=1e-6)
    assert sorted(cosines, reverse=True) == list(cosines)


def test_the_same_documents_again_publish_nothing_and_changed_ones_the_next_version(
    docs: Path, indexes: Indexes
) -> None:
    first = build_index(docs, "letters", indexes, LetterEmbedder())
    again = build_index(docs, "letters", indexes, LetterEmbedder())
    assert again.unchanged and again.version.number == first.version.number == 1
    (docs / "ddd.txt").write_text("ddd")
    assert build_index(docs, "letters", indexes, LetterEmbedder()).version.number == 2


def test_another_embedding_model_is_refused_even_at_equal_dimension(docs: Path, indexes: Indexes) -> None:
    version = build_index(docs, "letters", indexes, LetterEmbedder()).version
    with pytest.raises(IncompatibleParts, match="rebuild it"):
        Retriever(replace(LetterEmbedder(), fingerprint="other")).search(version, dense("a", 1))


def test_nothing_is_published_when_embedding_fails(docs: Path, indexes: Indexes, tmp_path: Path) -> None:
    class Failing(LetterEmbedder):
        def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        build_index(docs, "letters", indexes, Failing())
    assert indexes.versions.names() == []
    assert not list(tmp_path.rglob("passages.jsonl"))


def test_an_illegal_name_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    indexes = Indexes(tmp_path, Database(tmp_path / "db"))
    with pytest.raises(InvalidRequest, match="'Handbook' is not a legal name"):
        build("Handbook", indexes, Model("letters", "letters-1", lambda: pytest.fail("it was loaded")))
