"""The process of a training: courteous, ended at any moment without a trace, and gone on with."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from adapters.manifest import AdapterManifest
from ragtune.job import Job
from ragtune.jobs import Jobs
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.versions import Versions
from service.training import Diary, TrainingSpec, bounded
from service.working import Workers
from tests.tiny import save_tiny

COMMAND = ("service.training",)
NAMED = "adapter:short"
LINES = "".join(f'{{"id": "{n}", "query": "{n} + {n}?", "answers": ["yes"]}}\n' for n in range(12))
RECIPE = {"name": "short", "method": "lora", "train": "train.jsonl", "batch_tokens": 200, "lora": {"rank": 4}}
LONG = {**RECIPE, "epochs": 1000}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home over a tiny base model that worker processes find, too."""
    monkeypatch.setenv("RAGTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAGTUNE_BASE_MODEL", str(save_tiny(tmp_path / "tiny")))
    (tmp_path / "train.jsonl").write_text(LINES)
    (tmp_path / "short.toml").write_text(
        'name = "short"\nmethod = "lora"\ntrain = "train.jsonl"\nepochs = 1000\nbatch_tokens = 200\n'
    )
    return tmp_path / "home"


@pytest.fixture
def jobs(home: Path) -> Jobs:
    return Jobs(Database(home / "ragtune.db"), home)


@pytest.fixture
async def workers(jobs: Jobs, home: Path) -> AsyncIterator[Workers]:
    workers = Workers(jobs, home)
    yield workers
    await workers.close()


def published(home: Path) -> list[str]:
    versions = Versions(home, Database(home / "ragtune.db"), "adapter", AdapterManifest)
    return [str(version) for name in versions.names() for version in versions.of(name)]


async def started(jobs: Jobs, workers: Workers, home: Path, recipe: dict[str, object], **how: object) -> Job:
    spec = TrainingSpec.model_validate({"recipe": recipe, "folder": str(home.parent)}).model_dump(mode="json")
    queued = jobs.queue("training", NAMED, spec, **how)  # type: ignore[arg-type]
    await workers.start(queued, COMMAND, threads=1)
    return queued.job


async def training(jobs: Jobs, job: Job) -> psutil.Process:
    """Its process, in the midst of its steps."""
    async with asyncio.timeout(90):
        while (progress := jobs.get(job.id).progress) is None or progress.stage != "training" or progress.done < 3:
            await asyncio.sleep(0.02)
    (process,) = (child for child in psutil.Process().children() if job.id in child.cmdline())
    return process


async def test_a_training_that_is_killed_has_failed_with_nothing_registered_and_its_resumption_publishes(
    jobs: Jobs, workers: Workers, home: Path
) -> None:
    job = await started(jobs, workers, home, LONG)
    process = await training(jobs, job)
    assert process.nice() == 10 and process.environ()["OMP_NUM_THREADS"] == "1"
    process.kill()
    failed = await workers.wait(job.id)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error.code == "interrupted" and "can be resumed" in failed.error.message
    assert published(home) == []
    resumed = await started(jobs, workers, home, RECIPE, resumes=job.id)
    done = await workers.wait(resumed.id)
    assert done.result == {"version": "short@1"} and published(home) == ["short@1"]
    assert {path.name for path in (home / "store" / "adapter").iterdir()} == {"short", ".staging"}
    assert list((home / "store" / "adapter" / ".staging").iterdir()) == []


async def test_a_service_that_ends_ends_its_trainings_which_can_be_resumed(
    jobs: Jobs, workers: Workers, home: Path
) -> None:
    job = await started(jobs, workers, home, LONG)
    await training(jobs, job)
    began = time.monotonic()
    await workers.close()
    assert time.monotonic() - began < 9  # after ten seconds it would be killed
    failed = jobs.get(job.id)
    assert failed.error is not None and failed.error.code == "interrupted"
    assert jobs.tail(job.id, 1) == ["ended; what it had learned is kept, and it can be resumed"]
    assert published(home) == []


def command(home: Path, *arguments: str, most: int | None = None) -> "subprocess.Popen[str]":
    """`ragtune train` in a process of its own; no file of its may grow beyond `most` bytes."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ragtune", "train", *arguments],
        cwd=home.parent,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def test_a_full_disk_is_told_as_one_and_nothing_is_registered(jobs: Jobs, home: Path) -> None:
    (home.parent / "big.toml").write_text(
        'name = "big"\nmethod = "lora"\ntrain = "train.jsonl"\n[lora]\nrank = 512\n'  # some five megabytes
    )
    with command(home, "big.toml", most=3 << 20) as process:
        told = process.communicate(timeout=100)[1]
    (job,) = jobs.newest(9)
    assert process.returncode == 1 and "is full; nothing was published" in told
    assert job.error is not None and job.error.code == "storage_full"
    assert published(home) == []


def test_ctrl_c_ends_a_command_between_two_steps_and_says_how_to_go_on(jobs: Jobs, home: Path) -> None:
    with command(home, "short.toml") as process:
        deadline = time.monotonic() + 90
        while not any(job.progress and job.progress.stage == "training" for job in jobs.newest(1)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        told = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and "the same command goes on where this was" in told
    assert [job.state for job in jobs.newest(9)] == ["cancelled"] and published(home) == []


def test_a_training_has_half_the_processors_beside_a_service_and_all_without_one_unless_it_is_set() -> None:
    everything = len(os.sched_getaffinity(0))
    assert bounded(Settings(), beside=False).training_threads == everything
    assert bounded(Settings(), beside=True).training_threads == max(1, everything // 2)
    assert bounded(Settings(training_threads=3), beside=True).training_threads == 3


def test_the_log_has_the_beginning_and_end_of_a_stage_and_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    diary = Diary(lambda: now)
    for step in range(31):
        now = float(step)
        diary.tell("training", step, 30, {"loss": 1.5, "tokens_per_second": 640.0})
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [f"training {step} of 30 steps, loss 1.5, 640 tokens/s" for step in (0, 10, 20, 30)]
