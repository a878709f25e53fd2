"""A bake-off as a whole: its stages, what is not done again, what fails, what no longer fits, and how it is ended.

The program here stands in the place of `ragtune` (tests/bakeoff_program.py).
"""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.suite import read_suite
from indexer.folder import SUFFIXES
from ragtune.bakeoff.apart import INDEXED, check_apart
from ragtune.bakeoff.bakeoff import Bakeoff
from ragtune.bakeoff.cli import bakeoff
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.plan import Effort, Estimator, planned
from ragtune.bakeoff.probe import Probe, Probed
from ragtune.bakeoff.screen import offer_best, show_outcome
from ragtune.bakeoff.task import read_tasks
from ragtune.bakeoff.trainings import Trainings
from ragtune.bakeoff.workplace import Workplace
from ragtune.commands import Commands
from ragtune.errors import InvalidRequest, RagtuneError, RefusedArtifact, UnknownName
from ragtune.examples import Example
from ragtune.stages import Stages

PROGRAM = Path(__file__).parents[1] / "bakeoff_program.py"
INTERRUPTED = """
import os, sys
from pathlib import Path
from ragtune.bakeoff.bakeoff import Bakeoff
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.interruption import told_how_to_go_on
from ragtune.bakeoff.task import read_tasks
from ragtune.bakeoff.workplace import Workplace
from ragtune.commands import Commands

work, program = Path(sys.argv[1]), sys.argv[2]
place = Workplace(Files(work / "out"), Commands(os.environ, [sys.executable, program]))
tasks = read_tasks([work / "train.jsonl"], [work / "heldout.jsonl"])
with told_how_to_go_on():
    Bakeoff("b", place, work / "docs", "docs", tasks, 1800, None, ("lora",)).run()
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Documents, training and held-out examples."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nThe warranty is 1 months.")
    for part in ("train", "heldout"):
        made = [
            Example(
                id=f"{part}-{n}", task="facts", query=f"{part} {n}?", answers=(f"{n} months",), gold_documents=("a.md",)
            )
            for n in range(40)
        ]
        (tmp_path / f"{part}.jsonl").write_text("".join(e.model_dump_json(exclude_defaults=True) + "\n" for e in made))
    return tmp_path


def run_of(work: Path, budget: float = 1800, techniques: tuple[str, ...] = ("lora",), **changes: str) -> Bakeoff:
    own = {"RAGTUNE_HOME": str(work / "out" / "home"), "SERVED": "facts", "CHOSEN": "facts=facts-lora+rag"}
    commands = Commands({**os.environ, **own, **changes}, [sys.executable, str(PROGRAM)])
    tasks = read_tasks([work / "train.jsonl"], [work / "heldout.jsonl"])
    return Bakeoff(
        "mine", Workplace(Files(work / "out"), commands), work / "docs", "docs", tasks, budget, None, techniques
    )


def asked(work: Path) -> list[str]:
    """What was run since the last look; of a training the adapter."""
    log = work / "out" / "asked"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return [Path(words[1]).stem if words[0] == "train" else " ".join(words[:2]) for words in lines]


def test_from_files_and_a_budget_to_a_verdict(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = run_of(work, techniques=())
    outcome = run.run()
    done = asked(work)
    assert done[:3] == ["eval run", "index build", "serve --port"] and done[-3:] == [
        "serve --port",
        "eval run",
        "eval report",
    ]
    assert {"facts-lora", "facts-soft-prompt", "facts-partial", "facts-full"} <= set(done)
    assert [(best.alias, best.mode) for best in outcome.best] == [("best", "facts-lora@1+rag")]
    err = capfd.readouterr().err
    assert "The plan for 30.0 min" in err and "minutes, about" in err and "evaluation of every arm" in err
    assert "the index answers 100 % of 40 training questions, so adapters are trained on retrieved passages" in err
    show_outcome(run.place, outcome)
    assert "Take facts-lora+rag." in capfd.readouterr().out


@pytest.mark.slow  # many processes
def test_the_suite_it_leaves_can_be_run_again(work: Path) -> None:
    run_of(work).run()
    suite = read_suite(work / "out" / "suite.toml")
    assert suite.trained_on and suite.tasks[0].metrics == ("token_f1", "containment", "exact_match")
    assert len(suite.tasks[0].read()) == 40
    assert {arm.context for arm in suite.arms} > {"gold", "wrong"}
    assert any(arm.instruction for arm in suite.arms)


@pytest.mark.slow  # many processes
def test_adapters_are_trained_on_passages_only_where_the_index_answers(work: Path) -> None:
    run_of(work).run()
    recipe = tomllib.loads((work / "out" / "recipes" / "facts-lora.toml").read_text())
    assert recipe["index"] == "docs" and recipe["heldout"] == "../heldout-facts.jsonl"
    other = run_of(work, SERVED="")
    other.place.files.start_over()
    assert not (work / "out" / "home").exists()
    other.run()
    assert "index" not in tomllib.loads((work / "out" / "recipes" / "facts-lora.toml").read_text())


@pytest.mark.slow  # many processes
def test_two_learning_rates_are_tried_where_the_budget_allows(work: Path) -> None:
    run_of(work).run()
    line = next(line for line in (work / "out" / "asked").read_text().splitlines() if line.startswith("train"))
    assert line.endswith("--search 0.0005,0.002")


@pytest.mark.slow  # many processes
def test_a_second_run_does_nothing_again(work: Path) -> None:
    first = run_of(work).run()
    asked(work)
    second = run_of(work).run()
    assert asked(work) == []
    assert (second.plan, second.best, second.evaluation) == (first.plan, first.best, first.evaluation)


@pytest.mark.slow  # many processes
def test_a_technique_that_fails_is_recorded_and_the_rest_goes_on(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = run_of(work, techniques=("lora", "soft-prompt"), FAILS="facts-lora", CHOSEN="facts=rag").run()
    assert [left.what for left in outcome.failed] == ["facts-lora: a LoRA on all linear layers"]
    assert "failed with exit code 1" in outcome.failed[0].why
    assert "the rest goes on" in capfd.readouterr().err
    arms = {arm.name for arm in read_suite(work / "out" / "suite.toml").arms}
    assert "facts-soft-prompt+rag" in arms and "facts-lora" not in arms
    asked(work)
    assert (
        run_of(work, techniques=("lora", "soft-prompt")).run().failed == ()
    )  # it is tried again, and what worked is not
    assert asked(work) == ["facts-lora", "serve --port", "eval run", "eval report"]


@pytest.mark.slow  # many processes
def test_what_no_longer_fits_is_left_out_and_said(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = run_of(work)
    run.place.files.lay_out(run.tasks)
    seen = Probed(prompt_tokens=50, passage_tokens=180, new_tokens=10, found=1, searched=40, passages={})
    estimator = Estimator(run.tasks, Probe(tokens_per_second=400, tasks={"facts": seen}))
    plan = planned(estimator, Effort(techniques=("lora", "partial")))
    kept = []
    trainings = Trainings(run.place, Stages(work / "out" / "bakeoff.json", 2), estimator, "docs@1", budget=60)
    left = trainings.carry_out(plan, kept.append)
    assert left.trainings == () and kept[-1] == left and asked(work) == []
    assert [out.what for out in left.left_out] == ["lora for facts", "partial for facts"]
    assert "of the budget are left beside the" in left.left_out[0].why
    assert "left out: facts-lora would take" in capfd.readouterr().err


@pytest.mark.slow  # many processes
def test_a_budget_too_short_for_anything_is_told_before_any_training(work: Path) -> None:
    with pytest.raises(InvalidRequest, match="the budget is too short"):
        run_of(work, budget=20).run()
    assert asked(work) == ["eval run", "index build", "serve --port"]


def test_what_the_evaluator_would_refuse_is_refused_before_anything_is_done(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (work / "heldout.jsonl").open("a") as file:
        file.write(json.dumps({"id": "l", "task": "facts", "query": "TRAIN 3?", "answers": ["3 months"]}) + "\n")
    with pytest.raises(RagtuneError, match="--check` failed with exit code 1"):
        run_of(work).run()
    assert asked(work) == ["eval run"]
    assert "1 held-out examples stand in what was trained on" in capfd.readouterr().err
    run = run_of(work)
    bad = replace(run, tasks=(replace(run.tasks[0], metrics=("exact_macth",)),))
    with pytest.raises(RagtuneError, match="failed with exit code 1"):
        bad.run()
    assert "did you mean 'exact_match'" in capfd.readouterr().err


@pytest.mark.slow  # many processes
def test_leaks_are_gone_on_with_where_that_is_wanted(work: Path) -> None:
    with (work / "heldout.jsonl").open("a") as file:
        file.write(json.dumps({"id": "l", "task": "facts", "query": "TRAIN 3?", "answers": ["3 months"]}) + "\n")
    replace(run_of(work), allow_leaks=True).run()
    lines = [line for line in (work / "out" / "asked").read_text().splitlines() if line.startswith("eval run")]
    assert all("--allow-leaks" in line for line in lines) and len(lines) == 2


@pytest.mark.slow  # many processes
def test_what_failed_is_asked_again_where_that_is_wanted(work: Path) -> None:
    run_of(work).run()
    asked(work)
    replace(run_of(work), retry_failed=True).run()
    lines = (work / "out" / "asked").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["serve", "eval", "eval"] and "--retry-failed" in lines[1]


@pytest.mark.slow  # many processes
def test_a_report_that_is_gone_is_made_again(work: Path) -> None:
    first = run_of(work).run()
    (work / "out" / "report.json").unlink()
    asked(work)
    assert run_of(work).run().best == first.best
    assert asked(work) == ["serve --port", "eval run", "eval report"]


@pytest.mark.slow  # many processes
def test_where_retrieval_serves_no_arm_is_given_the_text_that_holds_the_answer(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "heldout"):
        made = [json.loads(line) for line in (work / f"{part}.jsonl").read_text().splitlines()]
        told = "".join(
            json.dumps(e | {"context": "The warranty is 1 months.", "gold_documents": []}) + "\n" for e in made
        )
        (work / f"{part}.jsonl").write_text(told)
    run_of(work).run()
    held = [json.loads(line) for line in (work / "out" / "heldout-facts.jsonl").read_text().splitlines()]
    assert not any("context" in example for example in held)
    assert all(example["gold_documents"] == ["a.md"] for example in held)
    assert "40 held-out questions are asked without the context" in capfd.readouterr().err
    assert {arm.context for arm in read_suite(work / "out" / "suite.toml").arms} > {"gold"}
    asked(work)
    run_of(work).run()
    assert asked(work) == []


@pytest.mark.slow  # many processes
def test_an_evaluation_that_failed_goes_on_with_the_same_suite(work: Path) -> None:
    run = run_of(work)
    run.run()
    suite = (work / "out" / "suite.toml").read_text()
    (work / "out" / "evaluation" / "run.jsonl.partial").write_text("what was answered so far")
    (work / "out" / "report.html").unlink()
    asked(work)
    run_of(work).run()
    assert asked(work) == ["serve --port", "eval run", "eval report"]
    assert (work / "out" / "suite.toml").read_text() == suite
    assert (work / "out" / "evaluation" / "run.jsonl.partial").exists()


@pytest.mark.slow  # many processes
def test_best_is_set_if_wanted_and_otherwise_only_shown(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = run_of(work)
    outcome = run.run()
    asked(work)
    assert not offer_best(run.place, outcome, yes=False, ask=False)
    assert asked(work) == []
    assert offer_best(run.place, outcome, yes=True, ask=False)
    assert (work / "out" / "asked").read_text() == "mode alias best facts-lora@1+rag\n"
    nothing = outcome.model_copy(update={"best": ()})
    assert not offer_best(run.place, nothing, yes=True, ask=False)
    assert "names no mode" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (signal.SIGINT, -signal.SIGINT),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),  # many processes each
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_nothing_running_and_the_same_goes_on(work: Path, how: signal.Signals, code: int) -> None:
    environ = {**os.environ, "RAGTUNE_HOME": str(work / "out" / "home"), "SERVED": "facts", "HANGS": "facts-lora"}
    command = [sys.executable, "-c", INTERRUPTED, str(work), str(PROGRAM)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        log = work / "out" / "asked"
        until = time.monotonic() + 60
        while "train " not in (log.read_text() if log.exists() else "") and time.monotonic() < until:
            time.sleep(0.05)
        run.send_signal(how)
        assert "nothing is left running" in run.communicate(timeout=30)[1]
        assert run.returncode == code
    pid = int((work / "out" / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    asked(work)
    del environ["HANGS"]
    commands = Commands(environ, [sys.executable, str(PROGRAM)])
    tasks = read_tasks([work / "train.jsonl"], [work / "heldout.jsonl"])
    Bakeoff("b", Workplace(Files(work / "out"), commands), work / "docs", "docs", tasks, 1800, None, ("lora",)).run()
    assert [name for name in asked(work) if name in ("index build", "facts-lora")] == ["facts-lora"]


def cli(work: Path, *more: str, train: str = "train.jsonl") -> Result:
    options = ["--docs", work / "docs", "--train", work / train, "--heldout", work / "heldout.jsonl"]
    return CliRunner().invoke(bakeoff, [*map(str, options), "--folder", str(work / "out"), *more])


def test_misuse_is_told_before_any_work(work: Path) -> None:
    assert "is no time such as 30m" in cli(work, "--budget", "soon").output
    assert "is not TASK=" in cli(work, "--metric", "facts").output
    for error, words, result in (
        (UnknownName, "did you mean 'lora'", cli(work, "--techniques", "lorra")),
        (UnknownName, "unknown task 'fact'", cli(work, "--template", "fact=t.toml")),
        (RefusedArtifact, "cannot read template", cli(work, "--template", "facts=t.toml")),
        (RefusedArtifact, "cannot read examples", cli(work, train="nothing.jsonl")),
        (RefusedArtifact, "there is no folder", cli(work, "--docs", str(work / "nowhere"))),
    ):
        assert isinstance(result.exception, error) and words in str(result.exception)
    assert not (work / "out").exists()


def test_starting_over_deletes_a_bake_off_and_nothing_else(work: Path) -> None:
    (work / "out").mkdir()
    (work / "out" / "thesis.md").write_text("all my work")
    for begin in (Files(work / "out").start_over, run_of(work).run):
        with pytest.raises(RagtuneError, match="holds no bake-off"):
            begin()
    assert [path.name for path in (work / "out").iterdir()] == ["thesis.md"]


@pytest.mark.slow  # many processes
def test_starting_over_leaves_what_others_put_there(work: Path) -> None:
    run = run_of(work)
    run.run()
    (work / "out" / "thesis.md").write_text("all my work")
    run.place.files.start_over()
    assert {path.name for path in (work / "out").iterdir()} == {"thesis.md", "bakeoff.json", "asked", "pid"}
    run.place.files.claim()


def test_what_is_given_lies_apart_from_what_is_made(work: Path) -> None:
    train = work / "train.jsonl"
    assert set(INDEXED) == set(SUFFIXES)
    check_apart(work / "out", work / "docs", [train])
    for folder, docs, examples, words in (
        (work, work / "docs", train, "where the bake-off writes"),
        (work / "out", work / "docs", work / "out" / "train.jsonl", "where the bake-off writes"),
        (work / "docs" / "out", work / "docs", train, "the held-out answers would be indexed"),
        (Path("/nowhere"), work, train, "would be indexed, answers included"),
    ):
        with pytest.raises(RefusedArtifact, match=words):
            check_apart(folder, docs, [examples])
    check_apart(Path("/nowhere"), work, [work / "train.json"])
    refused = cli(work, "--fresh", "--folder", str(work))
    assert isinstance(refused.exception, RefusedArtifact) and train.exists()
