"""From a recipe and its files to what is trained on and what is kept aside."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.gold import Knowledge
from adapters.recipe import Recipe
from adapters.tokenizer import Tokenizer
from adapters.training_data import Data, prepare
from indexer.record import Found
from ragtune.errors import RefusedArtifact
from ragtune.template import Template
from tests.tiny import tiny_tokenizer

SHARED = Path(os.environ.get("RAGTUNE_SHARED", Path(__file__).parents[3] / "shared"))
BANKING = SHARED / "data" / "banking77"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


def write(folder: Path, name: str, rows: Sequence[dict[str, object]]) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def rows(count: int, start: int = 0, **fields: object) -> list[dict[str, object]]:
    return [
        {"id": str(n), "query": f"Question {n}?", "answers": [f"answer {n}"], **fields}
        for n in range(start, start + count)
    ]


def recipe(train: object, **fields: object) -> Recipe:
    return Recipe.model_validate({"name": "x", "method": "lora", "train": train, **fields})


def prepared(tokenizer: Tokenizer, asked: Recipe, knowledge: Knowledge | None = None) -> Data:
    return prepare(asked, Template(), tokenizer, knowledge)


def test_a_share_is_kept_aside_of_every_task_and_all_else_is_trained_on(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path, "a.jsonl", [*rows(80, task="a"), *rows(20, 80, task="b")])
    data = prepared(tokenizer, recipe(path))
    assert Counter(item.task for item in data.validation) == {"a": 8, "b": 2}
    assert data.sizes == {"a": 72, "b": 18}
    assert len({item.id for item in [*data.train, *data.validation]}) == 100
    assert prepared(tokenizer, recipe(path)) == data
    assert prepared(tokenizer, recipe(path, seed=1)).sha256 != data.sha256
    assert len(prepared(tokenizer, recipe(path, validation_limit=3)).validation) == 3
    everything = prepared(tokenizer, recipe(path, validation_share=0))
    assert (len(everything.train), everything.validation, everything.notes) == (100, (), ())


def test_too_few_to_keep_any_aside_are_all_trained_on_and_it_is_said(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = prepared(tokenizer, recipe(write(tmp_path, "a.jsonl", rows(4))))
    assert (len(data.train), len(data.validation)) == (4, 0)
    assert data.notes[0].startswith("4 examples are too few to keep 10% aside")


def test_a_task_that_cannot_spare_one_is_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path, "a.jsonl", [*rows(20, task="a"), *rows(1, 80, task="b")])
    assert prepared(tokenizer, recipe(path)).notes == ("there is no validation example of b",)


def test_a_validation_file_is_drawn_from_and_compared_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    train, validation = write(tmp_path, "a.jsonl", rows(20)), write(tmp_path, "b.jsonl", rows(40, 10))
    data = prepared(tokenizer, recipe(train, validation=validation, validation_limit=5, heldout=[validation]))
    assert (len(data.train), len(data.validation)) == (20, 5)
    assert data.notes == ("of 40 validation examples 5 are looked at; validation_limit takes more",)
    assert data.duplicates.counts["train-validation exact"] == 10 == data.duplicates.counts["train-held-out exact"]


def test_each_of_several_files_names_the_task_of_its_examples_unless_they_do(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "intents.csv").write_text("text,category\nwhere,place\nwhen,time\n")
    paths = [str(tmp_path / "intents.csv"), write(tmp_path, "b.jsonl", [*rows(2), *rows(1, 5, task="own")])]
    data = prepared(tokenizer, recipe(paths, validation_share=0))
    assert data.sizes == {"b": 2, "intents": 2, "own": 1}
    assert data.notes == (f"{paths[0]}: query from 'text', answer from 'category'",)
    alone = prepared(tokenizer, recipe(paths[0], validation_share=0))
    assert alone.sizes == {"default": 2}


def test_one_task_and_so_many_examples_are_drawn_by_the_seed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path, "a.jsonl", [*rows(20, task="a"), *rows(20, 20, task="b")])
    first, second = (prepared(tokenizer, recipe(path, task="a", limit=10, validation_share=0, seed=n)) for n in (1, 2))
    assert first.sizes == second.sizes == {"a": 10}
    assert {item.id for item in first.train} != {item.id for item in second.train}


def test_validation_takes_no_example_that_is_too_long(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path, "a.jsonl", [*rows(10), *rows(10, 10, answers=["x" * 900])])
    data = prepared(tokenizer, recipe(path, max_tokens=200, validation_share=0.5))
    assert (len(data.train), len(data.validation)) == (5, 5)
    assert len(data.rendered.ids("too long")) == 10


def test_an_index_gives_the_passages_and_contexts_are_told_to_be_unused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    found = [Found(id="p", document="d", heading=[], text="answer 0", start=0, end=8, score=1.0)]
    path = write(tmp_path, "a.jsonl", rows(2, context="It is answer 0 or answer 1."))
    counts: list[int | None] = []

    def search(query: str, count: int | None) -> Sequence[Found]:
        counts.append(count)
        return found

    knowledge = Knowledge(search, 1000, {"d": found})
    data = prepared(tokenizer, recipe(path, index="i", validation_share=0), knowledge)
    assert ([item.id for item in data.train], data.rendered.ids("unsupported")) == (["0"], ["1"])
    assert data.notes == ("the contexts of 2 examples are not shown: their passages come from the index",)
    gold = recipe(path, index="i", validation_share=0, passages="gold", without_gold=0, distractors=0)
    data = prepared(tokenizer, gold, knowledge)
    assert ([item.id for item in data.train], data.rendered.ids("unsupported")) == (["0"], ["1"])
    assert counts == [None, None, 100, 100]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "sumz"}, "holds no example of task 'sumz': unknown task 'sumz'; did you mean 'sums'"),
        ({"weights": {"sumz": 2}}, "weights: unknown task 'sumz'; did you mean 'sums'"),
        ({"max_tokens": 16}, "train: no example is left: 9 are longer than 16 tokens"),
        ({"validation": "other.jsonl"}, "cannot read examples .*other.jsonl: No such file"),
        (
            {"validation": "long.jsonl", "max_tokens": 200},
            "validation: no example is left: 1 are longer than 200 tokens",
        ),
        ({"train": ["a.jsonl", "a.jsonl"]}, "a.jsonl and .*a.jsonl both have an example with the id '0'"),
        ({"format": "csv"}, "line 1: no column looks like the query"),
        ({"heldout": ["a.jsonl", "bad.jsonl"]}, "bad.jsonl, line 1: answers"),
    ],
)
def test_data_that_is_no_good_is_refused_with_the_reason(
    tmp_path: Path, tokenizer: Tokenizer, fields: dict[str, object], reason: str
) -> None:
    write(tmp_path, "a.jsonl", rows(9, task="sums"))
    write(tmp_path, "long.jsonl", rows(1, answers=["x" * 900]))
    write(tmp_path, "bad.jsonl", rows(1, answers=[]))
    asked = recipe(**{"train": "a.jsonl", **fields}).beside(tmp_path)
    with pytest.raises(RefusedArtifact, match=reason):
        prepared(tokenizer, asked)


def test_everything_found_is_told_on_stderr(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "a.jsonl", [*rows(20), *rows(1, 20, answers=["x" * 900])])
    prepared(tokenizer, recipe(path, max_tokens=200, heldout=[path])).show()
    out, err = capsys.readouterr()
    assert out == ""
    for text in (
        "18 examples to train on, 2 kept aside for validation",
        "left out: 1 examples are longer than max_tokens: 20",
        "LEAK: of 21 held-out examples, in train: 18 exact and 0 near duplicates",
    ):
        assert text in err


@pytest.mark.data
@pytest.mark.skipif(not BANKING.is_dir(), reason="no ../shared/data/banking77 beside this checkout")
def test_ten_thousand_rows_are_read_rendered_divided_and_compared_in_seconds(tokenizer: Tokenizer) -> None:
    started = time.monotonic()
    asked = recipe(str(BANKING / "train.csv"), validation_limit=200, heldout=[str(BANKING / "test.csv")])
    data = prepared(tokenizer, asked)
    assert (len(data.train), len(data.validation)) == (9803, 200)
    assert data.duplicates.counts["train-held-out exact"] >= 5
    assert time.monotonic() - started < 60  # some ten on two cores
