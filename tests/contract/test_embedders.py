"""What the index relies on in an embedding model, asked of the fake and of the embedded model."""

import pytest

from indexer.documents import Document
from indexer.embedding import TextEmbedder, load_embedder
from indexer.split import split
from ragtune.settings import Settings
from tests.fakes import LetterEmbedder

TEXT = (
    "Straße №5: naïve cafés — 日本語のテキスト。 "
    + "unbelievably-hyphenated/paths_and.dots " * 30
    + "🤖" * 40
    + " a" * 200
)


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.slow)])
def embedder(request: pytest.FixtureRequest) -> TextEmbedder:
    return LetterEmbedder() if request.param == "fake" else load_embedder(Settings())


def test_every_token_has_its_place_in_order(embedder: TextEmbedder) -> None:
    places = embedder.offsets(TEXT)
    assert len(places) == embedder.count(TEXT)
    assert places == sorted(places)
    assert all(0 <= start < end <= len(TEXT) for start, end in places)


@pytest.mark.parametrize("limit", [8, 40, 64])
def test_no_passage_is_longer_than_the_limit(embedder: TextEmbedder, limit: int) -> None:
    pieces = split(Document("a", "A title", TEXT), embedder.offsets, limit)
    assert max(embedder.count(piece.embedded_text) for piece in pieces) <= limit
    assert pieces[0].start == 0 and pieces[-1].end == len(TEXT)
