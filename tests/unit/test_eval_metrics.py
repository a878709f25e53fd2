"""Metrics by example, by their laws, and against the official SQuAD script's own figures."""

import json
import os
import string
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import METRICS, score
from eval.metrics.abstention import REFUSALS, abstention
from eval.metrics.fields import field_f1, field_precision, field_recall, first_object, valid_json
from eval.metrics.rouge import common_subsequence, rouge_l
from eval.metrics.words import containment, exact_match, normalise, token_f1
from eval.observed import Observed
from eval.runfile import Likelihood, Shown
from ragtune.errors import UnknownName
from ragtune.examples import UNANSWERABLE, Example

Scorer = Callable[[str, Sequence[str]], float | None]

SHARED = Path(os.environ.get("RAGTUNE_SHARED", Path(__file__).parents[2].parent / "shared"))
SQUAD = SHARED / "data/squad/dev-v1.1.32-articles.json"
REFERENCE = SHARED / "reference/squad"


def observed(text: str, answers: Sequence[str], **more: Any) -> Observed:
    """A text against these answers; blank ones are no answers, and become a word."""
    example = Example(id="1", query="q", answers=tuple(answer if answer.strip() else "x" for answer in answers))
    return Observed(example, text, **more)


words = st.lists(st.sampled_from(["red", "pump", "the", "26", "months", "a", "Brevik."]), min_size=1, max_size=6)
sentences = words.map(" ".join)


@pytest.mark.parametrize(
    ("metric", "text", "answers", "expected"),
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
        (token_f1, "The", ["the"], 1),
        (exact_match, "A.", ["A"], 1),
        (exact_match, "An", ["A"], 0),
        (exact_match, "B", ["A"], 0),
        (exact_match, "", ["A"], 0),
        (exact_match, "", ["..."], 0),
        (containment, "A", ["A"], 1),
        (containment, "Take a B", ["A"], 0),
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
        (field_f1, '{"a": "1"}', ["no JSON"], None),
        (field_f1, '{"s": {"name": "x", "id": 7}}', ['{"s": {"id": 7.0, "name": "X"}}'], 1),
        (field_f1, '{"tags": ["b", "a", "a"]}', ['{"tags": ["a", "b"]}'], 1),
        (field_f1, '{"tags": ["b", "c"]}', ['{"tags": ["a", "b"]}'], 0.5),
        (field_f1, '{"tags": "a"}', ['{"tags": ["a"]}'], 1),
        (field_f1, '{"rows": [{"a": 1, "b": 2}]}', ['{"rows": [{"b": 2, "a": 1, "c": null}]}'], 1),
        (field_f1, '{"rows": [{"a": 1, "b": 3}]}', ['{"rows": [{"a": 1, "b": 2}]}'], 0),
        (field_f1, '{"a": [], "b": {}}', ['{"a": null}'], 1),
        (field_f1, '{"a": true}', ['{"a": "True"}'], 1),
        (field_precision, '{"a": "1", "b": "2", "c": "3"}', ['{"a": "1"}'], 1 / 3),
        (field_precision, "no JSON", ['{"a": "1"}'], None),
        (field_precision, "{}", ['{"a": "1"}'], None),
        (field_recall, '{"a": "1"}', ['{"a": "1", "b": "2"}'], 0.5),
        (field_recall, "no JSON", ['{"a": "1"}'], 0),
        (field_recall, '{"a": "1"}', ["{}"], None),
        (field_recall, '{"a": "1"}', ['{"a": "2"}', '{"a": "1"}'], 1),
        (rouge_l, "the cat sat on the mat", ["the cat on a mat"], 8 / 11),
        (rouge_l, "Police, killed the GUNMAN!", ["police kill the gunman"], 0.75),
        (rouge_l, "b a", ["a b"], 0.5),
        (rouge_l, "no", ["yes", "no"], 1),
        (rouge_l, "...", ["..."], 0),
        (valid_json, 'x {"a": [1]} y', [], 1),
        (valid_json, "{'a': 1}", [], 0),
        (valid_json, "[1, 2]", [], 0),
    ],
)
def test_scores_by_eye(metric: Scorer, text: str, answers: list[str], expected: float | None) -> None:
    assert metric(text, answers) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("exact_match", "26 months [2].", "26 months"),
        ("token_f1", "26 [1] months[2]", "26 months"),
        ("containment", "It is 26 [1] months", "26 months"),
        ("numeric_match", "It is 26 months [2].", "26"),
    ],
)
def test_a_citation_is_no_part_of_what_is_said_where_there_are_passages(name: str, text: str, answer: str) -> None:
    passages = (Shown(id="p", document="d", text="t", number=1),)
    cited, plain = observed(text, [answer], passages=passages), observed(text, [answer])
    assert score(cited, [name]).scores[name] == 1 > score(plain, [name]).scores[name]
    assert not score(cited, [name]).unparsable


def test_an_answer_in_the_words_of_an_accepted_one_does_not_abstain() -> None:
    said = "The cause is unknown."
    asked = {"refusals": ("NOANSWER",)}
    assert score(observed(said, ["its cause is unknown"], **asked), []).scores == {"abstention": 0}
    assert score(observed(said, ["rust"], **asked), []).scores == {"abstention": 1}
    assert score(observed("I do not know", ["its cause is unknown"], **asked), []).scores == {"abstention": 1}
    nobody = Example(id="1", query="q", answers=("It is unknown",), slice=UNANSWERABLE)
    assert score(Observed(nobody, said), []).scores == {"abstention": 1}


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
def test_every_score_of_a_text_is_between_zero_and_one_or_none(text: str, answers: list[str]) -> None:
    seen = observed(text, answers, labels=tuple(sorted(answers)))
    scores = [metric.score(seen) for metric in METRICS.values()]
    assert all(one is None or 0 <= one <= 1 for one in scores)
    assert 0 <= abstention(text, answers) <= 1


@given(st.text(max_size=80), st.lists(st.text("aB1é, {}:\"'[].-", min_size=1, max_size=30), min_size=1, max_size=3))
def test_the_order_of_the_accepted_answers_changes_no_score_of_a_text(text: str, answers: list[str]) -> None:
    either, other = observed(text, answers), observed(text, answers[::-1])
    assert all(metric.score(either) == metric.score(other) for metric in METRICS.values())


@given(st.text(max_size=60))
def test_the_answer_itself_scores_one_unless_it_is_punctuation(answer: str) -> None:
    something = bool(answer.translate(str.maketrans("", "", string.punctuation)).strip())
    for metric in (exact_match, token_f1, containment):
        assert metric(answer, [answer]) == something


@given(sentences, st.lists(sentences, min_size=1, max_size=3), sentences)
def test_more_accepted_answers_never_lower_a_score(text: str, answers: list[str], more: str) -> None:
    for metric in (exact_match, token_f1, containment, rouge_l):
        assert metric(text, [*answers, more]) >= metric(text, answers)


@given(sentences, sentences)
def test_an_exact_match_is_a_full_f1_and_f1_is_symmetric(text: str, answer: str) -> None:
    if exact_match(text, [answer]) and normalise(text):
        assert token_f1(text, [answer]) == containment(text, [answer]) == 1
    assert token_f1(text, [answer]) == token_f1(answer, [text])
    assert rouge_l(text, [answer]) == pytest.approx(rouge_l(answer, [text]))


@given(sentences, sentences, sentences)
def test_an_answer_is_contained_wherever_it_stands(before: str, answer: str, after: str) -> None:
    assert containment(f"{before} {answer} {after}", [answer]) == float(bool(normalise(answer)))


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


def naive_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + naive_subsequence(first[:-1], second[:-1])
    return max(naive_subsequence(first[:-1], second), naive_subsequence(first, second[:-1]))


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abcd"), max_size=7))
def test_the_common_subsequence_is_that_of_the_definition(first: list[str], second: list[str]) -> None:
    assert common_subsequence(first, second) == naive_subsequence(first, second)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_any_object_agrees_with_itself(found: dict[str, object]) -> None:
    written = json.dumps(found)
    assert field_f1(written, [written]) == 1
    assert field_precision(written, [written]) in (1, None)
    assert field_recall(written, [written]) in (1, None)


def test_an_object_nested_too_deep_is_not_read() -> None:
    assert first_object('{"a":' * 63 + "1" + "}" * 63) is not None
    assert first_object('{"a":' * 200 + "1" + "}" * 200) == first_object('{"a":' * 63 + "1" + "}" * 63)


@given(st.dictionaries(st.text("abc", min_size=1), st.text("xyz", min_size=1), min_size=1))
def test_the_expected_object_scores_one_in_any_wording_around_it(fields: dict[str, str]) -> None:
    written = json.dumps(fields)
    assert field_f1(f"Here you are:\n```json\n{written}\n```", [written]) == 1


def test_every_refusal_is_recognised_inside_a_sentence() -> None:
    assert all(abstention(f"Well, {refusal}, I fear.", []) == 1 for refusal in REFUSALS)


def test_an_unanswerable_example_is_scored_by_abstention_alone() -> None:
    example = Example(id="1", query="q", answers=("not told",), slice=UNANSWERABLE)
    scored = score(Observed(example, "Not told.", refusals=("not told",)), ["exact_match", "field_f1"])
    assert (scored.scores, scored.unparsable, scored.predicted) == ({"abstention": 1}, False, None)


def test_abstaining_is_scored_beside_the_rest_where_the_task_has_unanswerable_examples() -> None:
    seen = observed("It is not told.", ["26 months"], refusals=("not told",))
    assert score(seen, ["exact_match"]).scores == {"abstention": 1, "exact_match": 0}
    assert score(observed("26 months", ["26 months"]), ["exact_match"]).scores == {"exact_match": 1}


@pytest.mark.parametrize(
    ("text", "metric", "unparsable"),
    [
        ("no number", "numeric_match", True),
        ("it is 7", "numeric_match", False),
        ("no object", "field_f1", True),
        ("{}", "valid_json", False),
        ("perhaps", "label_accuracy", True),
        ("a spam", "macro_f1", False),
        ("", "exact_match", False),
    ],
)
def test_a_text_without_what_a_metric_reads_is_wrong_and_unparsable(text: str, metric: str, unparsable: bool) -> None:
    scored = score(observed(text, ['{"n": 7}'], labels=("ham", "spam")), [metric])
    assert scored.unparsable == unparsable
    assert not unparsable or scored.scores == {metric: 0}


def test_the_label_read_is_told_where_a_metric_reads_labels() -> None:
    seen = observed("Clearly SPAM!", ["spam"], labels=("ham", "spam"))
    assert score(seen, ["label_accuracy"]).predicted == "spam"
    assert score(seen, ["exact_match"]).predicted is None


def test_a_metric_that_cannot_be_had_is_not_among_the_scores() -> None:
    asked = ["perplexity", "choice_accuracy", "recall", "groundedness", "embedding_similarity", "judge", "token_f1"]
    assert score(observed("x", ["x"]), asked).scores == {"token_f1": 1}
    full = observed("x", ["x"], similarity=-0.2, judged=0.75, likelihoods=(Likelihood(text="x", logprob=-3, tokens=2),))
    assert score(full, asked).scores == {"perplexity": 1.5, "embedding_similarity": 0, "judge": 0.75, "token_f1": 1}


def test_an_unknown_metric_is_refused_with_near_matches() -> None:
    with pytest.raises(UnknownName, match="exact_match"):
        score(observed("x", ["x"]), ["exact_mach"])


def test_the_gold_document_is_looked_for_in_the_prompt() -> None:
    example = Example(id="1", query="q", answers=("x",), gold_documents=("a.md",))
    shown = Shown(id="p", document="a.md", text="x", number=1)
    assert score(Observed(example, "x", passages=(shown,), ranking=("b.md", "a.md")), []).gold_retrieved is True
    assert score(Observed(example, "x", ranking=("a.md",)), []).gold_retrieved is False  # no room for it in the prompt
    assert score(Observed(example, "x", passages=(shown,)), []).gold_retrieved is None  # nothing was searched
    assert score(observed("x", ["x"], ranking=("a.md",)), []).gold_retrieved is None


def test_every_metric_is_described_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []
    assert all(name == metric.name and metric.about for name, metric in METRICS.items())


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
