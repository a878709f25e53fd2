"""Gold passages among distractors, from passages whose ids are a document and a place."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.dataset import Reason, Shown
from adapters.gold import Gold, Knowledge, passages_by_document
from adapters.recipe import Recipe
from adapters.tokenizer import Tokenizer
from indexer.record import Found
from indexer.search import Hidden
from ragtune.examples import Example
from ragtune.template import Template
from tests.small_index import document, index_of
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


def passage(id: str, text: str) -> Found:  # noqa: A002
    return Found(id=id, document=id[0], heading=[], text=text, start=int(id[1]), end=int(id[1]) + len(text), score=1.0)


DEEP = passage("a0", "The warranty is 26 months.")
SHALLOW = passage("a1", "26 months, as said above.")
PASSAGES = [
    passage("c0", "Cranes last 14 months."),
    SHALLOW,
    passage("b0", "Boats last 30 months."),
    passage("d0", "Drills last 26 months, too."),
    DEEP,
    passage("a2", "Nothing of that."),
]  # as the search ranks them
TEMPLATE = Template()


def example(id: str = "e", **fields: object) -> Example:  # noqa: A002
    asked = {"id": id, "query": "How long?", "answers": ["26 months"], "gold_documents": ["a"], **fields}
    return Example.model_validate(asked)


def chosen(
    tokenizer: Tokenizer,
    asked: Example,
    ranked: Sequence[Found] = PASSAGES,
    budget: int = 10_000,
    template: Template = TEMPLATE,
    **fields: object,
) -> Shown | Reason:
    options = {"name": "x", "method": "lora", "train": "x", "index": "i", "passages": "gold", "without_gold": 0}
    recipe = Recipe.model_validate({**options, **fields})
    own = {name: [p for p in PASSAGES if p.document == name] for name in "abcd"}
    knowledge = Knowledge(lambda query, count: ranked[:count], budget, own)
    return Gold([asked], knowledge, recipe, template, tokenizer)(asked)


def shown(found: Shown | Reason) -> list[str]:
    assert isinstance(found, Shown), found
    return [passage.id for passage in found.passages if isinstance(passage, Found)]


def test_the_best_passage_with_the_answer_stands_among_passages_of_other_documents(tokenizer: Tokenizer) -> None:
    found = chosen(tokenizer, example())
    assert shown(found) == ["a1", "b0", "c0"]  # in the order of the documents
    assert isinstance(found, Shown) and found.example == example() and not found.fewer


def test_where_the_best_stands_last_passages_stand_by_rank_and_gold_is_not_always_first(tokenizer: Tokenizer) -> None:
    by_rank = Template(order="best-last")
    assert shown(chosen(tokenizer, example(), template=by_rank)) == ["c0", "a1", "b0"]
    missed = [p for p in PASSAGES if p.document != "a"]
    places = {shown(chosen(tokenizer, example(str(n)), missed, template=by_rank)).index("a1") for n in range(30)}
    assert places == {0, 1, 2}  # the search did not rank it, so it may stand anywhere


def test_without_distractors_gold_stands_alone(tokenizer: Tokenizer) -> None:
    assert shown(chosen(tokenizer, example(), distractors=0)) == ["a1"]


def test_without_gold_as_many_others_stand_there_none_of_which_holds_the_answer(tokenizer: Tokenizer) -> None:
    everyone = [example(str(n)) for n in range(10)]
    options = {"name": "x", "method": "lora", "train": "x", "index": "i", "passages": "gold", "without_gold": 0.3}
    recipe = Recipe.model_validate({**options, "distractors": 1, "unanswerable": "No idea."})
    knowledge = Knowledge(lambda query, count: PASSAGES, 10_000, {"a": [DEEP, SHALLOW]})
    found = [Gold(everyone, knowledge, recipe, TEMPLATE, tokenizer)(one) for one in everyone]
    without = [one for one in found if isinstance(one, Shown) and one.example.answers == ("No idea.",)]
    assert len(without) == 3
    assert all(shown(one) == ["b0", "c0"] for one in without)
    assert all(shown(one) == ["a1", "c0"] for one in found if one not in without)


def test_what_is_unanswerable_gets_what_the_search_finds_and_keeps_its_answer(tokenizer: Tokenizer) -> None:
    asked = example(slice="unanswerable", gold_documents=[], answers=["Unknown."])
    found = chosen(tokenizer, asked)
    assert shown(found) == ["a1", "b0", "c0"]
    assert isinstance(found, Shown) and found.example == asked


def test_gold_is_found_by_its_context_where_no_document_is_named(tokenizer: Tokenizer) -> None:
    around = "Well. The warranty is  26 MONTHS. Nothing of that."
    assert shown(chosen(tokenizer, example(gold_documents=[], context=around))) == ["a0", "b0", "c0"]


@pytest.mark.parametrize(
    ("asked", "options", "reason"),
    [
        (example(gold_documents=[]), {}, "no gold"),
        (example(gold_documents=["z"]), {}, "not indexed"),
        (example(gold_documents=[], context="Elsewhere."), {}, "not indexed"),
        (example(answers=["6 months"]), {}, "unsupported"),
        (example(answers=["The warranty is 26 months"]), {"budget": 30}, "over budget"),
        (example(slice="unanswerable"), {"ranked": []}, "no distractor"),
    ],
)
def test_an_example_without_a_gold_passage_is_left_out_with_the_reason(
    tokenizer: Tokenizer, asked: Example, options: dict[str, object], reason: str
) -> None:
    assert chosen(tokenizer, asked, **options) == reason  # type: ignore[arg-type]


def test_too_few_distractors_are_told(tokenizer: Tokenizer) -> None:
    found = chosen(tokenizer, example(), distractors=4)
    assert isinstance(found, Shown) and found.fewer


def test_passages_of_deleted_documents_are_not_there(tmp_path: Path) -> None:
    contents = (document("a", revision=1), ["one", "two"]), (document("b", revision=2), ["three"])
    folder = index_of(tmp_path / "index", *contents).folder
    everything = passages_by_document(folder)
    assert [passage.text for passage in everything["a"]] == ["one", "two"] and list(everything) == ["a", "b"]
    assert list(passages_by_document(folder, Hidden({("", "a"): 1}))) == ["b"]
