"""`ragtune eval report` and `compare` on a run in a folder: what is written, and how they end."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.runfile import Run, RunWriter
from tests.sample_run import sample_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = sample_run()
    suite = run.header.suite
    tasks = (suite.tasks[0], suite.tasks[1].model_copy(update={"metrics": ("label_accuracy",)}))
    header = run.header.model_copy(update={"suite": suite.model_copy(update={"tasks": tasks})})
    return written(Run(header, run.items), tmp_path_factory.mktemp("run"))


def written(run: Run, folder: Path) -> Path:
    writer = RunWriter(folder)
    writer.begin(run.header, run.items)
    writer.publish(run.header, [item.place for item in run.items])
    return folder


def called(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_a_failed_gate_ends_with_1_and_says_which_and_by_how_much(folder: Path) -> None:
    found = called("report", folder, "--gate")
    assert found.exit_code == 1
    assert "Gates, in points" in found.output
    assert "1 of 3 gates failed" in found.output or "2 of 3 gates failed" in found.output


def test_without_gate_a_failed_gate_changes_no_exit_code_but_stands_in_the_json(folder: Path) -> None:
    found = called("report", folder, "--json")
    assert found.exit_code == 0
    gates = json.loads(found.stdout)["report"]["gates"]
    assert not all(gate["passed"] for gate in gates)


def test_gate_needs_gates(folder: Path, tmp_path: Path) -> None:
    header = json.loads((folder / "run.json").read_text())
    header["suite"]["gates"] = []
    (tmp_path / "run.json").write_text(json.dumps(header))
    (tmp_path / "run.jsonl").write_bytes((folder / "run.jsonl").read_bytes())
    assert called("report", tmp_path, "--gate").exit_code == 2


def test_the_page_is_written_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    assert called("report", folder, "--html", tmp_path / "a.html", "--markdown").exit_code == 0
    assert called("report", folder, "--html", tmp_path / "b.html").exit_code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_two_runs_are_compared_in_a_terminal_as_markdown_and_as_json(folder: Path) -> None:
    assert "Nothing else differs" in called("compare", folder, folder).output
    assert called("compare", folder, folder, "--markdown").output.startswith("**")
    found = json.loads(called("compare", folder, folder, "--json").stdout)
    assert {each["verdict"] for each in found["differences"]} == {"tie"}
