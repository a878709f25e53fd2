"""From examples to token ids, with a tokenizer of one token a byte."""

import pytest

from adapters.dataset import Item, closed_book, data_hash, render_each
from adapters.tokenizer import Tokenizer
from indexer.record import Found
from ragtune.errors import Cancelled, RefusedArtifact
from ragtune.examples import Example
from ragtune.prompt import Message, render
from ragtune.template import Template
from tests.rendering import render_all
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
    assert ([item.id for item in rendered.items], rendered.ids("too long")) == (["e1"], ["e2"])
    assert rendered.items[0].length <= 200


def test_an_answer_that_no_passage_holds_is_not_taught(tokenizer: Tokenizer) -> None:
    asked = [
        example(1, gold_documents=["a.md"]),
        example(2, "9 days", gold_documents=["a.md"]),
        example(3, "Not in the documents."),
    ]
    found = [passage("It is 26\nMonths.")]
    rendered = render_all(asked, Template(), tokenizer, lambda _: found, ANYTHING, ANYTHING)
    assert ([item.id for item in rendered.items], rendered.ids("unsupported")) == (["e1", "e3"], ["e2"])


def test_if_no_example_is_left_the_counts_are_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(RefusedArtifact, match="2 are longer than 20 tokens"):
        render_all([example(1), example(2)], Template(), tokenizer, None, ANYTHING, 20)


def test_what_was_said_before_and_the_context_stand_in_the_prompt_as_a_client_would_send_them(
    tokenizer: Tokenizer,
) -> None:
    before = [Message(role="user", content="Hello"), Message(role="assistant", content="Hi.")]
    asked = [example(1, history=before, context="It is long."), example(2, history=before, context="It is long.")]
    first, _ = render_all(asked, Template(), tokenizer, None, ANYTHING, ANYTHING).items
    served = [*before, Message(role="user", content="It is long.\n\nHow long, 1?")]
    assert first.prompt == render(served, [], Template(), tokenizer).token_ids

    found = [passage("26 months")]
    first, _ = render_all(asked, Template(), tokenizer, lambda _: found, ANYTHING, ANYTHING).items
    served = [*before, Message(role="user", content="How long, 1?")]
    assert first.prompt == render(served, found, Template(), tokenizer).token_ids


def test_an_answer_counts_as_held_only_as_whole_words(tokenizer: Tokenizer) -> None:
    asked = [example(1, "6 months", gold_documents=["a.md"]), example(2, "26 MONTHS", context="It is 26 months.")]
    found = [passage("It is 26\nMonths.")]
    rendered = render_all(asked, Template(), tokenizer, lambda _: found, ANYTHING, ANYTHING)
    assert ([item.id for item in rendered.items], rendered.ids("unsupported")) == (["e2"], ["e1"])


def test_an_example_that_cannot_be_rendered_is_named(tokenizer: Tokenizer) -> None:
    found = [passage("filler " * 50)]
    with pytest.raises(RefusedArtifact, match="example 'e1': none of 1 retrieved passages fits into 60 tokens"):
        render_all([example(1)], Template(), tokenizer, lambda _: found, 60, ANYTHING)


def test_whoever_watches_hears_of_every_example_and_may_end_it(tokenizer: Tokenizer) -> None:
    told: list[tuple[str, int, int]] = []

    def watch(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        render_each([example(n) for n in range(3)], closed_book, Template(), tokenizer, ANYTHING, watch=watch)
    assert told == [("rendering train", 1, 3), ("rendering train", 2, 3)]


def test_a_task_goes_with_its_items(tokenizer: Tokenizer) -> None:
    (item,) = render_all([example(1, task="sums")], Template(), tokenizer, None, ANYTHING, ANYTHING).items
    assert item.task == "sums"


def test_the_data_hash_changes_with_any_token_and_with_the_task() -> None:
    first, second = Item("a", (5, 6), (7,)), Item("a", (5,), (6, 7))
    assert data_hash([first]) == data_hash([Item("b", (5, 6), (7,))])
    assert data_hash([first]) != data_hash([second])
    assert data_hash([first]) != data_hash([Item("a", (5, 6), (7,), "sums")])
