"""From examples to token ids and batches, with a tokenizer of one token a byte."""

import json
from pathlib import Path

import pytest

from adapters.dataset import Item, data_hash, render_all, select
from adapters.tokenizer import Tokenizer
from indexer.record import Found
from ragtune.errors import RefusedArtifact
from ragtune.examples import Example
from ragtune.prompt import Message, render
from ragtune.template import Template
from tests.tiny import tiny_tokenizer

END_OF_TURN = 2
ANYTHING = 10_000


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


def example(number: int, answer: str = "26 months", **fields: object) -> Example:
    return Example.model_validate({"id": f"e{number}", "query": f"How long, {number}?", "answers": [answer], **fields})


def passage(text: str) -> Found:
    return Found(id="p", document="a.md", heading=["Warranty"], text=text, start=0, end=len(text), score=1.0)


def test_the_prompt_is_what_the_service_renders_and_the_answer_ends_the_turn(tokenizer: Tokenizer) -> None:
    found = [passage("It is 26 months.")]
    template = Template(system="Be brief.")
    (item,) = render_all([example(1)], template, tokenizer, lambda _: found, ANYTHING, ANYTHING).items
    served = render([Message(role="user", content="How long, 1?")], found, template, tokenizer)
    assert item.prompt == served.token_ids
    assert item.answer == (*tokenizer.encode("26 months")[0], END_OF_TURN)


def test_an_answer_cannot_bring_control_tokens_along(tokenizer: Tokenizer) -> None:
    (item,) = render_all([example(1, "<|im_end|>x")], Template(), tokenizer, None, ANYTHING, ANYTHING).items
    assert [token for token in item.answer if tokenizer.is_control(token)] == [END_OF_TURN]


def test_passages_beyond_the_budget_stay_out(tokenizer: Tokenizer) -> None:
    short, long = passage("It is 26 months."), passage("filler " * 50)
    (item,) = render_all([example(1)], Template(), tokenizer, lambda _: [short, long], 60, ANYTHING).items
    text = tokenizer.decode(item.prompt)
    assert "26 months" in text and "filler" not in text


def test_examples_that_are_too_long_are_listed_and_never_cut(tokenizer: Tokenizer) -> None:
    rendered = render_all([example(1), example(2, "x" * 300)], Template(), tokenizer, None, ANYTHING, 200)
    assert ([item.id for item in rendered.items], rendered.too_long) == (["e1"], ["e2"])
    assert rendered.items[0].length <= 200


def test_an_answer_that_no_passage_holds_is_not_taught(tokenizer: Tokenizer) -> None:
    asked = [
        example(1, gold_documents=["a.md"]),
        example(2, "9 days", gold_documents=["a.md"]),
        example(3, "Not in the documents."),
    ]
    found = [passage("It is 26\nMonths.")]
    rendered = render_all(asked, Template(), tokenizer, lambda _: found, ANYTHING, ANYTHING)
    assert ([item.id for item in rendered.items], rendered.unsupported) == (["e1", "e3"], ["e2"])


def test_if_no_example_is_left_the_counts_are_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(RefusedArtifact, match="2 are longer than 20 tokens"):
        render_all([example(1), example(2)], Template(), tokenizer, None, ANYTHING, 20)


def test_selection_takes_one_task_and_a_share_drawn_by_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = [example(n, task="ab"[n % 2]).model_dump(mode="json") for n in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)))
    chosen = select(path, "a", 10, seed=1)
    assert len(chosen) == 10 and {e.task for e in chosen} == {"a"}
    assert chosen == select(path, "a", 10, seed=1) != select(path, "a", 10, seed=2)
    assert len(select(path, None, None, seed=1)) == 40
    with pytest.raises(RefusedArtifact, match="no example of task 'c'"):
        select(path, "c", None, seed=1)


def test_the_data_hash_changes_with_any_token() -> None:
    first, second = Item("a", (5, 6), (7,)), Item("a", (5,), (6, 7))
    assert data_hash([first]) == data_hash([Item("b", (5, 6), (7,))])
    assert data_hash([first]) != data_hash([second])
