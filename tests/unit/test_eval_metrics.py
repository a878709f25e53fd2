"""Metrics by example, and against the official SQuAD script's own figures."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import METRICS, containment, exact_match, field_f1, first_object, token_f1, valid_json

SHARED = Path(os.environ.get("RAGTUNE_SHARED", Path(__file__).parents[2].parent / "shared"))


@pytest.mark.parametrize(
    ("metric", "text", "answers", "score"),
    [
        (exact_match, "The 26 Months.", ["26 months"], 1),
        (exact_match, "It is 26 months", ["26 months"], 0),
        (containment, "It is 26 months, says the manual.", ["26 months"], 1),
        (containment, "It is 126 months", ["26 months"], 0),
        (containment, "anything", ["..."], 0),
        (token_f1, "26 months warranty", ["26 months"], 0.8),
        (token_f1, "no", ["yes", "no"], 1),
        (field_f1, 'Sure: {"a": "1", "b": "2"}', ['{"a": "1", "b": "3"}'], 0.5),
        (field_f1, '{"a": "1", "b": ""}', ['{"a": "1", "b": ""}'], 1),
        (field_f1, "no JSON", ['{"a": "1"}'], 0),
        (field_f1, "no JSON", ['{"a": ""}'], 1),
        (valid_json, 'x {"a": [1]} y', [], 1),
        (valid_json, "{'a': 1}", [], 0),
    ],
)
def test_scores_by_eye(metric: object, text: str, answers: list[str], score: float) -> None:
    assert metric(text, answers) == pytest.approx(score)  # type: ignore[operator]


def test_the_first_object_is_found_behind_broken_ones() -> None:
    assert first_object('{"broken": {"whole": 1}') == {"whole": 1}


@given(st.text(max_size=80), st.lists(st.text(max_size=30), min_size=1, max_size=3))
def test_every_score_is_between_zero_and_one_and_the_answer_itself_scores_one(text: str, answers: list[str]) -> None:
    for metric in METRICS.values():
        assert 0 <= metric(text, answers) <= 1
    assert exact_match(answers[0], answers) == token_f1(answers[0], answers) == 1


@pytest.mark.data
@pytest.mark.parametrize("system", ["logistic-regression", "bert-ensemble"])
def test_exact_match_and_f1_equal_the_official_script(system: str) -> None:
    data = SHARED / "data/squad/dev-v1.1.32-articles.json"
    if not data.exists():
        pytest.skip("the SQuAD reference predictions are not on this machine (RAGTUNE_SHARED)")
    expected = json.loads((SHARED / "reference/squad/expected.json").read_text())
    predictions = json.loads((SHARED / f"reference/squad/{system}.predictions.json").read_text())
    scores: dict[str, list[float]] = {"exact_match": [], "f1": []}
    for article in json.loads(data.read_text())["data"]:
        for question in [question for paragraph in article["paragraphs"] for question in paragraph["qas"]]:
            answers = [answer["text"] for answer in question["answers"]]
            said = predictions.get(question["id"])
            scores["exact_match"].append(0.0 if said is None else exact_match(said, answers))
            scores["f1"].append(0.0 if said is None else token_f1(said, answers))
    found = {name: 100 * sum(values) / len(values) for name, values in scores.items()}
    wanted = next(entry for name, entry in expected.items() if system.split("-")[0] in name.lower())
    assert found == pytest.approx({name: wanted[name] for name in found}, abs=1e-6)
