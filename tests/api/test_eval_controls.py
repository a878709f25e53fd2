"""The ladder of contexts, conversations, choices, rankings and leaks, against a service whose answers are known."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.client import ANY_SCORE
from eval.runfile import Item, Run, read_run
from ragtune.errors import RefusedArtifact
from tests.echo_service import Behaviour, application, serving

Started = Callable[..., Result]


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(known=("base", "best", "help-lora"))


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    with serving(application(behaviour)) as at:
        yield at


@pytest.fixture
def run(tmp_path: Path, url: str) -> Started:
    def started(examples: list[dict[str, Any]], arms: str, metrics: str = '"containment"', top: str = "") -> Result:
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, examples)))
        tasks = f'[[tasks]]\nname = "t"\nexamples = "t.jsonl"\nmetrics = [{metrics}]\n'
        (tmp_path / "suite.toml").write_text(f'name = "n"\nalone = 0\n{top}\n{tasks}\n{arms}')
        arguments = ["run", str(tmp_path / "suite.toml"), "--url", url, "--out", str(tmp_path / "out")]
        return CliRunner().invoke(evaluate, arguments)

    return started


def made(folder: Path) -> Run:
    return read_run(folder / "out")


def by_arm(folder: Path) -> dict[str, Item]:
    return {item.arm: item for item in made(folder).items}


def arm(mode: str, **fields: str) -> str:
    return f'[[arms]]\nmode = "{mode}"\n' + "".join(f'{name} = "{value}"\n' for name, value in fields.items())


QUESTION = {"id": "1", "query": "How long is 7?", "answers": ["7 months"], "gold_documents": ["7.md"]}
LADDER = "".join(
    arm("best", label=context, context=context)
    for context in ("none", "retrieved", "gold", "gold+distractors", "wrong")
)


def test_the_ladder_gives_no_context_the_right_one_a_mixed_one_and_a_wrong_one(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    done = run([QUESTION, {"id": "2", "query": "Why?", "answers": ["x"]}], LADDER)
    assert done.exit_code == 0, done.output
    given = {
        item.arm: [passage.document for passage in item.reply.passages]
        for item in made(tmp_path).items
        if item.example == "1" and item.reply
    }
    assert (given["none"], given["retrieved"], given["gold"]) == ([], ["7.md"], ["7.md"])
    assert given["wrong"] == ["other.md", "third.md"]
    assert sorted(given["gold+distractors"]) == ["7.md", "other.md", "third.md"]
    scores = {item.arm: item.scores["containment"] for item in made(tmp_path).items if item.example == "1"}
    assert scores == {"none": 0, "retrieved": 1, "gold": 1, "gold+distractors": 1, "wrong": 0}
    modes = made(tmp_path).header.modes
    assert (modes["none"], modes["gold"]) == ("help-lora@2", "help-lora@2+rag:handbook@3")
    assert made(tmp_path).header.left_out == {"gold": 1, "gold+distractors": 1, "wrong": 1}
    for_context = [body for body in behaviour.searched if "retrieval" not in body]
    assert for_context == [
        {"query": "How long is 7?", "top_k": 10, "min_score": ANY_SCORE, "documents": ["7.md"]},
        {"query": "How long is 7?", "top_k": 10, "min_score": ANY_SCORE, "without_documents": ["7.md"]},
    ], "once for all arms"


def test_the_text_an_example_stands_on_is_its_gold_passage(tmp_path: Path, run: Started, behaviour: Behaviour) -> None:
    example = {"id": "1", "query": "How long is 7?", "answers": ["7 months"], "context": "Of 7: 7 months."}
    run(
        [example],
        arm("best", label="gold", context="gold")
        + arm("base", label="with")
        + arm("base", label="bare", context="none"),
    )
    items = by_arm(tmp_path)
    assert items["gold"].reply and [passage.text for passage in items["gold"].reply.passages] == ["Of 7: 7 months."]
    asked = {body["mode"]: body["query"] for body in behaviour.bodies}
    assert asked["help-lora@2+rag:handbook@3"] == "How long is 7?"
    assert {body["query"] for body in behaviour.bodies if body["mode"] == "base"} == {
        "Of 7: 7 months.\n\nHow long is 7?",
        "How long is 7?",
    }


def test_gold_documents_that_the_index_does_not_have_make_a_failed_item(tmp_path: Path, run: Started) -> None:
    run([QUESTION | {"gold_documents": ["gone.md"]}], arm("best", context="gold") + arm("base"))
    assert by_arm(tmp_path)["best"].error == "index handbook@3 holds no passage of gone.md"


def test_gold_passages_that_hold_the_answer_go_first_and_those_that_do_not_are_counted(
    tmp_path: Path, run: Started
) -> None:
    documents = {"gold_documents": ["other.md", "third.md", "7.md"]}
    elsewhere = {"id": "2", "query": "How long is 8?", "answers": ["9 months"], "gold_documents": ["8.md"]}
    run([QUESTION | documents | {"answers": ["Of third.md"]}, elsewhere], arm("best", context="gold") + arm("base"))
    (first, _) = [item for item in made(tmp_path).items if item.arm == "best"]
    assert first.reply and [passage.document for passage in first.reply.passages] == ["third.md", "7.md"]
    assert made(tmp_path).header.unheld == {"best": 1}
    told = CliRunner().invoke(evaluate, ["report", str(tmp_path / "out")]).stdout
    assert "hold no accepted answer word for word: best: 1." in " ".join(told.split())


def test_an_alias_that_retrieves_nothing_has_no_context_to_replace(run: Started, behaviour: Behaviour) -> None:
    behaviour.best = "help-lora@2"
    done = run([QUESTION], arm("best", context="gold"))
    assert isinstance(done.exception, RefusedArtifact)
    assert "arm 'best': context = 'gold' needs a mode with rag; help-lora@2 has none" in done.exception.message


def test_an_instruction_stands_after_every_question(run: Started, behaviour: Behaviour) -> None:
    run([QUESTION], arm("base", instruction="Answer with a number."))
    assert behaviour.bodies[0]["query"] == "How long is 7?\n\nAnswer with a number."


def test_a_question_with_a_history_goes_where_conversations_go(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    history = [{"role": "user", "content": "Of 7 months?"}, {"role": "assistant", "content": "Yes."}]
    done = run([QUESTION | {"history": history}], arm("base"))
    assert done.exit_code == 0, done.output
    (sent,) = behaviour.conversations
    assert sent["messages"] == [*history, {"role": "user", "content": "How long is 7?"}]
    assert (sent["model"], sent["temperature"], sent["seed"], sent["max_tokens"]) == ("base", 0, 0, 64)
    item = by_arm(tmp_path)["base"]
    assert item.scores == {"containment": 1} and item.reply and item.reply.usage.cached_tokens == 1


def test_choices_are_scored_by_their_log_probabilities_where_the_answer_would_stand(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    example = {"id": "1", "query": "Which?", "answers": ["ab"], "choices": ["ab", "x", "abcdef"]}
    done = run([example], arm("help-lora"), '"choice_accuracy", "choice_accuracy_per_token", "perplexity"')
    assert done.exit_code == 0, done.output
    item = by_arm(tmp_path)["help-lora"]
    assert item.reply is not None
    assert [(one.text, one.logprob, one.tokens) for one in item.reply.likelihoods] == [
        ("ab", -1.0, 2),
        ("x", -1.0, 1),
        ("abcdef", -3.0, 6),
    ]
    assert item.scores == {"choice_accuracy": 1, "choice_accuracy_per_token": 1, "perplexity": 0.5}
    assert behaviour.bodies == [], "nothing is generated"
    sent = behaviour.scored[0]
    assert "".join(map(chr, sent["prompt"])) == "<user>Which?ab"
    assert (sent["max_tokens"], sent["echo"], sent["logprobs"]) == (0, True, 0)


def test_where_only_retrieval_is_measured_nothing_is_generated(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    example = {"id": "1", "query": "How long is 7?", "answers": [], "gold_documents": ["third.md"]}
    done = run([example], arm("best"), '"recall", "mrr"')
    assert done.exit_code == 0, done.output
    item = by_arm(tmp_path)["best"]
    assert item.scores == {"recall": 1, "mrr": pytest.approx(1 / 3)}
    assert behaviour.bodies == []
    refused = run([example], arm("base"), '"recall"')
    assert isinstance(refused.exception, RefusedArtifact) and "base retrieves nothing" in refused.exception.message


def test_held_out_examples_that_were_trained_on_end_the_run_unless_they_are_allowed(
    tmp_path: Path, run: Started, url: str, behaviour: Behaviour
) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(QUESTION))
    done = run([QUESTION], arm("base"), top='trained_on = ["train.jsonl"]')
    assert done.exit_code == 1 and isinstance(done.exception, RefusedArtifact)
    assert "1 held-out examples stand in what was trained on" in done.exception.message
    assert behaviour.bodies == [] and not (tmp_path / "out").exists()
    arguments = ["run", str(tmp_path / "suite.toml"), "--url", url, "--out", str(tmp_path / "out"), "--allow-leaks"]
    assert CliRunner().invoke(evaluate, arguments).exit_code == 0
    assert made(tmp_path).header.leaks == {"t": ("1",)}


def test_what_an_adapter_was_trained_on_is_looked_at_and_told_where_it_cannot_be(
    tmp_path: Path, run: Started, behaviour: Behaviour
) -> None:
    (tmp_path / "train.csv").write_text("asked;told;task\nHow long is 7?;7 months;a\nWhat?;x;b\n")
    behaviour.recipe = {"method": "lora", "train": str(tmp_path / "train.csv"), "task": "b"}
    behaviour.recipe["csv"] = {"query": "asked", "answer": "told"}
    assert run([QUESTION], arm("best")).exit_code == 0, "what was left out of the training is no leak"
    assert made(tmp_path).header.unchecked == {}
    behaviour.recipe["task"] = "a"
    done = run([QUESTION], arm("best"))
    assert isinstance(done.exception, RefusedArtifact) and "train.csv" in done.exception.message
    behaviour.recipe = {"method": "lora", "train": ["train.csv", "/gone/train.jsonl"]}
    assert run([QUESTION], arm("best")).exit_code == 0
    assert made(tmp_path).header.unchecked["best"] == (
        "train.csv is a relative path in its recipe",
        "cannot read examples /gone/train.jsonl: No such file or directory",
    )
    told = CliRunner().invoke(evaluate, ["report", str(tmp_path / "out")]).stdout
    assert "not looked at for leaks, best: train.csv is a relative path" in " ".join(told.split())


def test_what_arms_cost_once_and_what_the_knowledge_holds_is_written_down(tmp_path: Path, run: Started) -> None:
    run([QUESTION, {"id": "2", "query": "Why?", "answers": ["because"]}], arm("best") + arm("base"))
    header = made(tmp_path).header
    assert (header.trained["best"].seconds, header.trained["best"].steps) == (42.4, 3)
    assert (header.indexed["best"].version, header.indexed["best"].seconds) == ("handbook@3", 3.5)
    assert header.known == {"handbook@3": {"t": 0.5}}
    assert "base" not in header.trained and header.modes == {"best": "help-lora@2+rag:handbook@3", "base": "base"}
