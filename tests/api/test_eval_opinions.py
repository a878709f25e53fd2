"""Metrics that a model has to be asked for: the service's embedding model, and the judge."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.runfile import Item, read_run
from ragtune.errors import RefusedArtifact, Unavailable
from tests.echo_service import Behaviour, application, serving

SUITE = """
name = "judged"
alone = 0
concurrency = 1

[[tasks]]
name = "t"
examples = "t.jsonl"
metrics = ["containment", "embedding_similarity", "judge"]

[[arms]]
mode = "base"

[judge]
model = "best"
prompt = "Of 5, judge: {answer}"
"""
Started = Callable[..., Result]


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def run(tmp_path: Path, behaviour: Behaviour) -> Iterator[Started]:
    (tmp_path / "suite.toml").write_text(SUITE)
    with serving(application(behaviour)) as url:

        def started(*queries: str, more: tuple[str, ...] = ()) -> Result:
            examples = [{"id": str(n), "query": query, "answers": ["fine"]} for n, query in enumerate(queries)]
            examples.append({"id": "u", "query": "Who?", "answers": ["Nobody knows."], "slice": "unanswerable"})
            (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, examples)))
            arguments = ["run", str(tmp_path / "suite.toml"), "--url", url, "--out", str(tmp_path / "out"), *more]
            return CliRunner().invoke(evaluate, arguments)

        yield started


def items(folder: Path) -> list[Item]:
    return list(read_run(folder / "out").items)


def test_both_are_pinned_asked_of_what_has_an_answer_and_recorded(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    assert run("fine").exit_code == 0
    first, unanswerable = items(tmp_path)
    assert first.scores == {"containment": 1, "embedding_similarity": 1, "judge": 1, "abstention": 0}
    assert unanswerable.scores == {"abstention": 0}
    asked = [body["query"] for body in behaviour.bodies if body["mode"] == behaviour.best]
    assert asked == ["Of 5, judge: four", "Of 5, judge: fine"], (
        "once to see whether it can judge, and once for the answerable one"
    )
    assert behaviour.embedded == [["fine"]]
    header = read_run(tmp_path / "out").header
    assert (header.judge, header.embedding) == (behaviour.best, "minilm")
    behaviour.best = "help-lora@3+rag:handbook@3"
    moved = run("fine")
    assert isinstance(moved.exception, RefusedArtifact) and "judge was help-lora@2" in moved.exception.message


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("slow", "the judge could not be asked: HTTP 504: the deadline passed"),
        ("unembeddable", "the embedding model could not be asked: HTTP 500: oops"),
    ],
)
def test_an_opinion_that_could_not_be_had_is_a_failed_item_that_can_be_asked_again(
    tmp_path: Path, run: Started, behaviour: Behaviour, query: str, says: str
) -> None:
    behaviour.late = "judge: slow"
    assert run("fine", query).exit_code == 0
    assert [item.error for item in items(tmp_path)] == [None, says, None]
    assert items(tmp_path)[1].reply is None and items(tmp_path)[1].scores == {}
    behaviour.prompt = behaviour.embeds = True
    assert run("fine", query, more=("--retry-failed",)).exit_code == 0
    assert [item.error for item in items(tmp_path)] == [None, None, None]


def test_a_service_that_is_gone_before_its_opinion_leaves_a_run_to_go_on_with(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    behaviour.gone_after = 4  # the judge's check, an answer and its judgement: then an answer without one
    done = run("fine", "well", "good")
    assert isinstance(done.exception, Unavailable) and "1 of 4 questions are answered" in done.exception.message
    behaviour.gone_after = None
    assert run("fine", "well", "good").exit_code == 0
    assert all("judge" in item.scores for item in items(tmp_path)[:3])
