"""`ragtune job` on a home without a server: what a person reads, what a script reads, and the exit codes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ragtune.audit import AuditLog
from ragtune.errors import AlreadyRunning, Cancelled, RefusedArtifact, UnknownName
from ragtune.job_cli import job
from ragtune.jobs import Jobs
from ragtune.store import Database

HANDBOOK = "index:handbook"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "ragtune.db")
    yield database
    database.close()


@pytest.fixture
def jobs(tmp_path: Path, database: Database) -> Jobs:
    return Jobs(database, tmp_path)


def run(jobs: Jobs, *arguments: str) -> Result:
    return CliRunner(env={"RAGTUNE_HOME": str(jobs.folder.parent)}).invoke(job, arguments)


def test_a_home_without_jobs_says_so(jobs: Jobs) -> None:
    assert "there was no job yet" in run(jobs, "list").stderr
    assert "no such job" in run(jobs, "list", "--state", "running").stderr
    assert json.loads(run(jobs, "list", "--json").stdout) == []


def test_jobs_are_listed_with_what_they_are_at_made_or_failed_of(jobs: Jobs) -> None:
    with jobs.run("index build", HANDBOOK, {}, author="ann") as done:
        done.result = {"version": "handbook@1"}
    with pytest.raises(RefusedArtifact), jobs.run("index build", "index:other", {}):
        raise RefusedArtifact("nothing to index")
    with jobs.run("index build", HANDBOOK, {}) as running:
        running.progress(1, 4, unit="passages", stage="embedding")
        lines = run(jobs, "list").stdout.splitlines()[3:]
        assert "running" in lines[0] and "embedding 1 of 4 passages (25 %)" in lines[0]
        assert "failed" in lines[1] and "nothing to index" in lines[1]
        assert "succeeded" in lines[2] and "version handbook@1" in lines[2] and "ann" in lines[2]
        listed = json.loads(run(jobs, "list", "--resource", HANDBOOK, "--limit", "1", "--json").stdout)
        assert [(each["id"], each["progress"]["percent"]) for each in listed] == [(running.job.id, 25.0)]
        shown = run(jobs, "show", running.job.id).stdout
        assert "state            running" in shown and "embedding 1 of 4 passages" in shown
    assert json.loads(run(jobs, "show", done.job.id, "--json").stdout) == jobs.get(done.job.id).model_dump(mode="json")


def test_an_unknown_job_is_told_which_is_near(jobs: Jobs) -> None:
    with jobs.run("index build", HANDBOOK, {}) as done:
        pass
    for command in ("show", "watch", "cancel", "log"):
        refused = run(jobs, command, done.job.id[:-1]).exception
        assert isinstance(refused, UnknownName) and done.job.id in refused.message


def test_a_job_that_is_watched_draws_its_stages_and_ends_with_its_exit_code(jobs: Jobs) -> None:
    def work() -> None:
        with jobs.run("index build", HANDBOOK, {}) as running:
            started.append(running.job.id)
            begun.set()
            for stage in ("reading", "embedding"):
                for step in range(4):
                    running.progress(step, 3, unit="passages", stage=stage)
                    enough.wait(0.1)
            running.result = {"version": "handbook@1"}

    started, begun, enough = list[str](), threading.Event(), threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    watched = run(jobs, "watch", started[0])
    worker.join()
    assert watched.exit_code == 0
    for line in ("index:handbook: reading ...", "index:handbook: reading: 3 done", "embedding: 3 done", "handbook@1"):
        assert line in watched.stderr
    again = run(jobs, "watch", started[0], "--json")
    assert (again.exit_code, json.loads(again.stdout)["state"]) == (0, "succeeded")


def test_watching_a_job_that_fails_is_exit_code_1_with_the_reason(jobs: Jobs) -> None:
    with pytest.raises(RefusedArtifact), jobs.run("index build", HANDBOOK, {}) as running:
        raise RefusedArtifact("nothing to index")
    watched = run(jobs, "watch", running.job.id)
    assert watched.exit_code == 1
    assert f"index build {running.job.id}: failed: nothing to index" in watched.stderr


def test_a_training_is_shown_with_its_loss_and_its_pace_and_its_log_is_read(jobs: Jobs) -> None:
    with jobs.run("training", "adapter:support", {}) as running:
        running.progress(51, 204, unit="steps", stage="training", figures={"loss": 1.306, "tokens_per_second": 1640.2})
        shown = run(jobs, "show", running.job.id).stdout
        assert "training 51 of 204 steps (25 %), loss 1.31, 1,640 tokens/s" in shown
    assert "has no log" in run(jobs, "log", running.job.id).stderr
    jobs.log(running.job.id).write_text("one\ntwo\x1b[2J\nthree\n")
    assert run(jobs, "log", running.job.id, "--lines", "2").stdout == "two\\x1b[2J\nthree\n"


def test_a_figure_that_is_no_number_is_not_told(jobs: Jobs) -> None:
    with jobs.run("training", "adapter:support", {}) as running:
        running.progress(1, 2, unit="steps", stage="training", figures={"loss": float("nan"), "tokens_per_second": 3.0})
    progress = jobs.get(running.job.id).progress
    assert progress is not None and progress.figures == {"tokens_per_second": 3.0}


def test_a_job_is_asked_to_stop_and_the_audit_log_knows(jobs: Jobs, database: Database) -> None:
    with pytest.raises(Cancelled), jobs.run("index build", HANDBOOK, {}) as running:
        assert "was asked to stop" in run(jobs, "cancel", running.job.id).stderr
        running.check()
    assert f"{running.job.id} is cancelled" in run(jobs, "cancel", running.job.id).stderr
    assert [entry.path for entry in AuditLog(database).newest(9)] == [f"job cancel {running.job.id}"] * 2


PROBE = """
import click, os
from pathlib import Path
from ragtune.jobs import Jobs
from ragtune.store import Database

@click.command()
def probe():
    home = Path(os.environ["RAGTUNE_HOME"])
    jobs = Jobs(Database(home / "ragtune.db"), home)
    with jobs.run("index build", "index:handbook", {}) as running:
        jobs.cancel(running.job.id)
        running.check()
"""


def test_a_command_whose_job_is_cancelled_ends_with_its_words_and_exit_code_1(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)  # a command that another distribution adds
    (tmp_path / "probe-1.0.dist-info").mkdir()
    (tmp_path / "probe-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
    (tmp_path / "probe-1.0.dist-info" / "entry_points.txt").write_text("[ragtune.commands]\nprobe = probe:probe\n")
    environment = os.environ | {"RAGTUNE_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-P", "-m", "ragtune", "probe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (cancelled,) = jobs.newest(9)
    assert done.stderr.splitlines() == [f"error: the index build {cancelled.id} was cancelled"]
    assert (done.returncode, cancelled.state) == (1, "cancelled")


def test_what_a_second_build_is_told_to_do_can_be_done(jobs: Jobs) -> None:
    with pytest.raises(Cancelled), jobs.run("index build", HANDBOOK, {}) as running:
        with pytest.raises(AlreadyRunning) as refused:
            jobs.queue("index build", HANDBOOK, {})
        command = refused.value.message.split("cancel it with 'ragtune job ")[1].split("'")[0]
        assert run(jobs, *command.split()).exit_code == 0
        running.check()
