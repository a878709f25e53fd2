"""`ragtune eval run --check`: what could be asked and what speaks against it, with no service and nothing asked."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.quality import is_candidate
from eval.suite import Arm, read_suite
from ragtune.errors import RefusedArtifact

SUITE = """
name = "facts"
trained_on = ["train.jsonl"]
tasks = [{ name = "facts", examples = "heldout.jsonl", metrics = ["METRIC"] }]
arms = [{ mode = "base" }, { mode = "rag" }]
"""


def checked(folder: Path, *flags: str, metric: str = "token_f1", leak: str = "") -> Result:
    held = [{"id": str(n), "query": f"held out {n}?", "answers": [f"answer {n}"]} for n in range(3)]
    trained = [{"id": "t", "query": leak or "something else?", "answers": ["answer 0"]}]
    for name, examples in (("heldout", held), ("train", trained)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    (folder / "suite.toml").write_text(SUITE.replace("METRIC", metric))
    return CliRunner().invoke(evaluate, ["run", str(folder / "suite.toml"), "--check", *flags])


def test_a_suite_that_could_be_asked_is_told_in_numbers_and_nothing_is_asked(tmp_path: Path) -> None:
    result = checked(tmp_path)
    assert result.exit_code == 0 and "6 questions to 2 arms could be asked; none was trained on" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"suite.toml", "heldout.jsonl", "train.jsonl"}


def test_leaks_are_refused_also_those_that_are_worded_nearly_the_same(tmp_path: Path) -> None:
    for leak in ("HELD  out 0?", "held out, 0!"):
        result = checked(tmp_path, leak=leak)
        assert result.exit_code == 1 and isinstance(result.exception, RefusedArtifact)
    allowed = checked(tmp_path, "--allow-leaks", leak="held out 0?")
    assert allowed.exit_code == 0 and "1 of the examples trained on" in allowed.stderr


@pytest.mark.parametrize(("metric", "words"), [("token_f2", "did you mean 'token_f1'"), ("mrr", "no gold_documents")])
def test_a_metric_that_cannot_be_had_is_refused(tmp_path: Path, metric: str, words: str) -> None:
    result = checked(tmp_path, metric=metric)
    assert isinstance(result.exception, RefusedArtifact) and words in str(result.exception)


def test_an_arm_that_is_told_the_form_is_a_control_and_no_candidate(tmp_path: Path) -> None:
    checked(tmp_path)
    task = read_suite(tmp_path / "suite.toml").tasks[0]
    assert is_candidate(Arm(mode="base"), task)
    assert not is_candidate(Arm(mode="base", instruction="Be brief."), task)
