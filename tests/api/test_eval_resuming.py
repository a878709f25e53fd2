"""A run that is cut off goes on where it was, in the same folder, and asks nothing twice."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.runfile import BEGUN, PARTIAL, Item, Run, RunWriter, read_run, read_unfinished
from ragtune.errors import AlreadyRunning, RefusedArtifact
from tests.echo_service import Behaviour, application, serving

SUITE = """
name = "resumed"
concurrency = 3
alone = 2
temperature = 0.5
seeds = [1, 2]

[[tasks]]
name = "knowledge"
examples = "knowledge.jsonl"
metrics = ["containment"]

[[arms]]
mode = "base"

[[arms]]
mode = "help-lora+rag"
"""
COUNT = 15


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    with serving(application(behaviour)) as at:
        yield at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    examples = [{"id": f"k{n}", "query": f"How long is {n}?", "answers": [f"{n} months"]} for n in range(COUNT)]
    (tmp_path / "knowledge.jsonl").write_text("\n".join(map(json.dumps, examples)))
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def arguments(folder: Path, url: str, *more: str, out: str = "out") -> list[str]:
    return ["run", str(folder / "suite.toml"), "--url", url, "--out", str(folder / out), *more]


def run(folder: Path, url: str, *more: str, out: str = "out") -> Result:
    return CliRunner().invoke(evaluate, arguments(folder, url, *more, out=out))


def requests(behaviour: Behaviour) -> Counter[tuple[str, str, int]]:
    return Counter((body["mode"], body["query"], body["seed"]) for body in behaviour.bodies)


def without_times(run: Run) -> list[Item]:
    """Items but for what differs from one time to the next."""
    return [
        item.model_copy(
            update={
                "retries": 0,
                "alone": False,
                "warm_up": False,
                "reply": item.reply
                and item.reply.model_copy(
                    update={"id": "", "timings": item.reply.timings.model_copy(update={"first_token_ms": 0})}
                ),
            }
        )
        for item in run.items
    ]


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.slow), 9, pytest.param(33, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_without_asking_again_what_was_answered(
    folder: Path, url: str, behaviour: Behaviour, after: int
) -> None:
    run(folder, url, out="whole")
    behaviour.bodies.clear()
    command = [sys.executable, "-P", "-m", "ragtune", "eval", *arguments(folder, url)]
    environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home")}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = folder / "out" / PARTIAL
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= after):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.2)  # until the server is done with what it was asked last
    with partial.open("ab") as lines:
        lines.write(b'{"arm": "base", "tas')  # as a kill in the middle of a write would leave it
    recorded = partial.read_bytes().count(b"\n")
    before = requests(behaviour)
    behaviour.bodies.clear()
    done = run(folder, url)
    assert done.exit_code == 0, done.output
    assert f"{recorded} questions were asked in an earlier sitting; {4 * COUNT - recorded} are missing" in done.stderr
    again = requests(behaviour)
    assert max(again.values()) == 1 and sum(again.values()) == 4 * COUNT - recorded
    assert sum((before & again).values()) <= 3, "only what was under way when it was killed"
    resumed, whole = read_run(folder / "out"), read_run(folder / "whole")
    assert without_times(resumed) == without_times(whole)
    assert (resumed.header.sittings, whole.header.sittings) == (2, 1)
    assert {name: len(times) for name, times in resumed.header.alone.items()} == {"base": 2, "help-lora+rag": 2}


def test_a_whole_run_is_not_asked_again(folder: Path, url: str, behaviour: Behaviour) -> None:
    run(folder, url)
    behaviour.bodies.clear()
    done = run(folder, url, "--json")
    assert done.exit_code == 0 and behaviour.bodies == []
    assert f"0 questions asked in 0 s, {4 * COUNT} kept from an earlier sitting" in done.stderr


def test_failed_items_are_asked_again_only_if_that_is_wanted(folder: Path, url: str, behaviour: Behaviour) -> None:
    examples = (folder / "knowledge.jsonl").read_text()
    (folder / "knowledge.jsonl").write_text(examples.replace("How long is 3?", "How long, too late?"))
    run(folder, url)
    behaviour.bodies.clear()
    run(folder, url)
    assert behaviour.bodies == []
    behaviour.prompt = True
    done = run(folder, url, "--retry-failed")
    assert done.exit_code == 0, done.output
    assert requests(behaviour).total() == 4 and not any(item.error for item in read_run(folder / "out").items)


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        pytest.param(
            "suite.toml",
            "seeds = [1, 2]",
            "seeds = [1, 3]",
            "suite.seeds number 2 was 2 and is 3",
            marks=pytest.mark.slow,
        ),
        (
            "suite.toml",
            '"containment"',
            '"exact_match"',
            "suite.tasks number 1.metrics number 1 was containment and is",
        ),
        ("knowledge.jsonl", "3 months", "4 months", "examples of task.knowledge was"),
    ],
)
def test_another_run_in_the_folder_is_refused_with_what_differs(
    folder: Path, url: str, behaviour: Behaviour, file: str, old: str, new: str, says: str
) -> None:
    run(folder, url)
    behaviour.bodies.clear()
    (folder / file).write_text((folder / file).read_text().replace(old, new, 1))
    done = run(folder, url)
    assert isinstance(done.exception, RefusedArtifact) and says in done.exception.message, done.exception
    assert behaviour.bodies == []
    assert run(folder, url, "--fresh").exit_code == 0


def test_versions_that_moved_meanwhile_make_it_another_run(folder: Path, url: str, behaviour: Behaviour) -> None:
    (folder / "suite.toml").write_text(SUITE.replace("help-lora+rag", "best"))
    run(folder, url)
    behaviour.best = "help-lora@3+rag:handbook@3"
    done = run(folder, url)
    assert isinstance(done.exception, RefusedArtifact)
    assert "versions of arm.best was help-lora@2+rag:handbook@3 and is help-lora@3+rag:handbook@3" in str(
        done.exception
    )


def test_how_fast_it_goes_and_what_is_reported_of_it_may_change(folder: Path, url: str, behaviour: Behaviour) -> None:
    run(folder, url)
    behaviour.bodies.clear()
    (folder / "suite.toml").write_text(SUITE.replace("concurrency = 3", "concurrency = 5\ntolerance = 4"))
    assert run(folder, url).exit_code == 0 and behaviour.bodies == []


def test_answers_of_an_earlier_run_are_taken_over_where_the_same_was_asked(
    folder: Path, url: str, behaviour: Behaviour
) -> None:
    run(folder, url, out="earlier")
    behaviour.bodies.clear()
    (folder / "suite.toml").write_text(
        SUITE.replace("seeds = [1, 2]", "seeds = [1, 3]").replace("containment", "token_f1")
    )
    done = run(folder, url, "--reuse", str(folder / "earlier"))
    assert done.exit_code == 0, done.output
    assert {body["seed"] for body in behaviour.bodies} == {3}, "no repeat has the answer of another"
    made = read_run(folder / "out")
    reused = [item for item in made.items if item.reused]
    assert len(reused) == 2 * COUNT and all(item.repeat == 0 and "token_f1" in item.scores for item in reused)
    assert made.header.alone == {"base": (), "help-lora+rag": ()}
    assert f"{2 * COUNT} of them answered by an earlier run" in done.stderr


def test_two_runs_do_not_write_into_one_folder(folder: Path, url: str) -> None:
    with closing(RunWriter(folder / "out")):
        done = run(folder, url)
        assert isinstance(done.exception, AlreadyRunning), done.exception
    assert not (folder / "out" / BEGUN).exists()


GATE = """
[[gates]]
arm = "help-lora+rag"
task = "knowledge"
least = %d
"""


def test_a_whole_run_is_held_to_the_gates_that_the_suite_has_now(folder: Path, url: str, behaviour: Behaviour) -> None:
    (folder / "suite.toml").write_text(SUITE + GATE % 60)
    assert run(folder, url, "--gate").exit_code == 0
    behaviour.bodies.clear()
    (folder / "suite.toml").write_text(SUITE.replace("alone = 2", "alone = 5") + GATE % 101)
    assert run(folder, url, "--gate").exit_code == 1 and behaviour.bodies == []
    suite = read_run(folder / "out").header.suite
    assert (suite.gates[0].least, suite.alone) == (101, 2), "it was asked as it was asked"


def test_leaks_are_looked_for_in_a_whole_run_too(folder: Path, url: str) -> None:
    run(folder, url)
    top = f'trained_on = ["{folder}/knowledge.jsonl"]\n'
    (folder / "suite.toml").write_text(top + SUITE)
    assert isinstance(run(folder, url).exception, RefusedArtifact)
    assert run(folder, url, "--allow-leaks").exit_code == 0
    assert len(read_run(folder / "out").header.leaks["knowledge"]) == COUNT


def test_a_fresh_start_that_is_killed_leaves_no_items_of_another_run_under_its_header(folder: Path, url: str) -> None:
    run(folder, url)
    first = read_run(folder / "out")
    with closing(RunWriter(folder / "cut")) as writer:
        writer.begin(first.header, first.items)
    other = first.header.model_copy(update={"url": "http://other"})
    with closing(RunWriter(folder / "cut")) as writer:
        (folder / "cut" / f"{BEGUN}.new").mkdir()  # where the next write ends
        with pytest.raises(OSError, match="directory"):
            writer.begin(other)
    found = read_unfinished(folder / "cut")
    assert found is not None and (found.header.url, list(found.items)) == (url, [])


def test_when_a_run_started_is_when_its_first_sitting_did(folder: Path, url: str, behaviour: Behaviour) -> None:
    behaviour.gone_after = 7
    run(folder, url)
    cut = read_unfinished(folder / "out")
    assert cut is not None
    earlier = cut.header.model_copy(update={"started": "2026-01-01T00:00:00+00:00"})
    (folder / "out" / BEGUN).write_text(earlier.model_dump_json())
    behaviour.gone_after = None
    assert run(folder, url).exit_code == 0
    header = read_run(folder / "out").header
    assert (header.started, header.sittings) == (earlier.started, 2)
