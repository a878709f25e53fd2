"""Metrics by example, by their laws, and against the official SQuAD script's own figures."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import (
    METRICS,
    REFUSALS,
    Metric,
    abstention,
    containment,
    exact_match,
    field_f1,
    first_object,
    normalise,
    token_f1,
    valid_json,
)

SHARED = Path(os.environ.get("RAGTUNE_SHARED", Path(__file__).parents[2].parent / "shared"))
SQUAD = SHARED / "data/squad/dev-v1.1.32-articles.json"
REFERENCE = SHARED / "reference/squad"

words = st.lists(st.sampled_from(["red", "pump", "the", "26", "months", "a", "Brevik."]), min_size=1, max_size=6)
sentences = words.map(" ".join)


@pytest.mark.parametrize(
    ("metric", "text", "answers", "score"),
    [
        (exact_match, "The 26 Months.", ["26 months"], 1),
        (exact_match, "It is 26 months", ["26 months"], 0),
        (exact_match, "no", ["yes", "no"], 1),
        (containment, "It is 26 months, says the manual.", ["26 months"], 1),
        (containment, "It is 126 months", ["26 months"], 0),
        (containment, "It is 26 long months", ["26 months"], 0),
        (containment, "anything", ["..."], 0),
        (token_f1, "26 months warranty", ["26 months"], 0.8),
        (token_f1, "months months", ["26 months"], 0.5),
        (token_f1, "no", ["yes", "no"], 1),
        (token_f1, "", ["the"], 0),
        (abstention, "I don't know, sorry.", [], 1),
        (abstention, "That is not in the documents", [], 1),
        (abstention, "NOANSWER", ["noanswer"], 1),
        (abstention, "It is 26 months.", ["noanswer"], 0),
        (field_f1, 'Sure: {"a": "1", "b": "2"}', ['{"a": "1", "b": "3"}'], 0.5),
        (field_f1, '{"A ": " X  y"}', ['{"a": "x Y"}'], 1),
        (field_f1, '{"a": 1, "b": [1, "x"]}', ['{"a": "1", "b": [1, "X"]}'], 1),
        (field_f1, '{"a": "1", "b": "2", "c": "3"}', ['{"a": "1"}'], 0.5),
        (field_f1, '{"a": "1", "b": ""}', ['{"a": "1", "b": null}'], 1),
        (field_f1, "{}", ['{"a": ""}'], 1),
        (field_f1, "no JSON", ['{"a": "1"}'], 0),
        (field_f1, "no JSON", ['{"a": ""}'], 0),
        (valid_json, 'x {"a": [1]} y', [], 1),
        (valid_json, "{'a': 1}", [], 0),
        (valid_json, "[1, 2]", [], 0),
    ],
)
def test_scores_by_eye(metric: Metric, text: str, answers: list[str], score: float) -> None:
    assert metric(text, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"broken": {"whole": 1}', {"whole": 1}),
        ('first {"a": 1} then {"b": 2}', {"a": 1}),
        ("{" * 5000, None),
        ('{"a":' * 5000, None),
        ('{"a": ' + "9" * 5000 + '} {"b": 1}', {"b": 1}),
    ],
)
def test_the_first_object_is_found_and_no_text_breaks_the_search(text: str, found: object) -> None:
    assert first_object(text) == found


@given(st.text(max_size=80), st.lists(st.text(max_size=30), min_size=1, max_size=3))
def test_every_score_is_between_zero_and_one(text: str, answers: list[str]) -> None:
    assert all(0 <= metric(text, answers) <= 1 for metric in [*METRICS.values(), abstention])


@given(st.text(max_size=60))
def test_the_answer_itself_scores_one_unless_normalising_leaves_nothing(answer: str) -> None:
    assert exact_match(answer, [answer]) == 1
    assert token_f1(answer, [answer]) == containment(answer, [answer]) == float(bool(normalise(answer)))


@given(sentences, st.lists(sentences, min_size=1, max_size=3), sentences)
def test_more_accepted_answers_never_lower_a_score(text: str, answers: list[str], more: str) -> None:
    for metric in (exact_match, token_f1, containment):
        assert metric(text, [*answers, more]) >= metric(text, answers)


@given(sentences, sentences)
def test_an_exact_match_is_a_full_f1_and_f1_is_symmetric(text: str, answer: str) -> None:
    if exact_match(text, [answer]) and normalise(text):
        assert token_f1(text, [answer]) == containment(text, [answer]) == 1
    assert token_f1(text, [answer]) == token_f1(answer, [text])


@given(sentences, sentences, sentences)
def test_an_answer_is_contained_wherever_it_stands(before: str, answer: str, after: str) -> None:
    assert containment(f"{before} {answer} {after}", [answer]) == float(bool(normalise(answer)))


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(st.dictionaries(st.text("abc", min_size=1), st.text("xyz", min_size=1), min_size=1))
def test_the_expected_object_scores_one_in_any_wording_around_it(fields: dict[str, str]) -> None:
    written = json.dumps(fields)
    assert field_f1(f"Here you are:\n```json\n{written}\n```", [written]) == 1


def test_every_refusal_is_recognised_inside_a_sentence() -> None:
    assert all(abstention(f"Well, {refusal}, I fear.", []) == 1 for refusal in REFUSALS)


def squad_questions() -> Iterator[tuple[str, list[str]]]:
    """Id and accepted answers of each question."""
    for article in json.loads(SQUAD.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield question["id"], [answer["text"] for answer in question["answers"]]


@pytest.mark.data
@pytest.mark.skipif(
    not (SQUAD.exists() and REFERENCE.exists()),
    reason="the SQuAD data and reference predictions are not beside this checkout (RAGTUNE_SHARED names their folder)",
)
@pytest.mark.parametrize("system", ["logistic-regression", "bert-ensemble"])
def test_exact_match_and_f1_equal_the_official_script(system: str) -> None:
    expected = json.loads((REFERENCE / "expected.json").read_text())[system]
    predictions = json.loads((REFERENCE / f"{system}.predictions.json").read_text(encoding="utf-8"))
    scores: dict[str, list[float]] = {"exact_match": [], "f1": []}
    for id_, answers in squad_questions():
        said = predictions.get(id_)  # the official script counts a question without a prediction as wrong
        scores["exact_match"].append(0.0 if said is None else exact_match(said, answers))
        scores["f1"].append(0.0 if said is None else token_f1(said, answers))
    found = {name: 100 * sum(values) / len(values) for name, values in scores.items()}
    assert found == pytest.approx(expected, abs=1e-9)
