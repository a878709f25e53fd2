"""The reranker on a tiny cross-encoder with random weights, made here."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from indexer.rerank import Reranker, load_reranker
from indexer.retriever import Retriever
from indexer.search import Search
from ragtune.errors import Unavailable
from ragtune.settings import Settings
from tests.fakes import LetterEmbedder
from tests.small_index import document, index_of

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "apple", "banana", "cherry", "damson"]
CONFIG = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def saved(folder: Path, model: BertForSequenceClassification | BertModel) -> Path:
    """The model with a tokenizer of nine words."""
    model.save_pretrained(folder)
    (folder / "words.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "words.txt"), model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**CONFIG, num_labels=1, initializer_range=1.0))
    return saved(tmp_path_factory.mktemp("cross-encoder"), model)


def test_a_reranker_scores_each_text_as_the_model_alone_does(cross_encoder: Path) -> None:
    texts = ["apple", "banana cherry", "damson " * 200]
    reranker = Reranker(str(cross_encoder))
    together = reranker.scores("apple banana", texts)
    assert together == pytest.approx([reranker.scores("apple banana", [text])[0] for text in texts], abs=1e-5)
    assert len(set(together)) == 3 and all(0 < score < 1 for score in together)
    assert reranker.scores("apple", []) == []


def test_a_search_is_ordered_by_the_reranker(cross_encoder: Path, tmp_path: Path) -> None:
    version = index_of(tmp_path / "fruit", (document("d"), ["apple", "banana", "cherry apple", "damson"]))
    reranker = load_reranker(Settings(reranker=str(cross_encoder), device="cpu"))
    found = Retriever(LetterEmbedder(), reranker).search(version, Search(query="apple", rerank=True))
    assert reranker is not None
    expected = reranker.scores("apple", [passage.text for passage in found])
    assert [passage.score for passage in found] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    assert all(set(passage.scores) >= {"dense", "fused", "rerank"} for passage in found)


def test_no_reranker_is_loaded_unless_one_is_named() -> None:
    assert load_reranker(Settings()) is None


def test_a_reranker_that_cannot_be_loaded_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(Unavailable, match="set RAGTUNE_RERANKER to a cross-encoder"):
            Reranker(str(name)).scores("a", ["b"])


def test_a_model_that_gives_a_pair_no_single_score_is_refused(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain", BertModel(BertConfig(**CONFIG)))
    classes = saved(tmp_path / "classes", BertForSequenceClassification(BertConfig(**CONFIG, num_labels=3)))
    for folder in (plain, classes):
        with pytest.raises(Unavailable, match="is no reranker"):
            Reranker(str(folder)).scores("a", ["b"])
