"""The processes that do jobs beside the service: niced, heard, ended, and never believed alive when they are not."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from ragtune.job import Job, Spec
from ragtune.jobs import Jobs
from ragtune.store import Database
from service.working import Workers

ROOT = Path(__file__).parents[2]
WORKER = ("tests.job_worker",)
FOR_EVER = {"steps": 10_000}


@pytest.fixture(autouse=True)
def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is in this folder, which `python -P` does not look into by itself."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Database(tmp_path / "ragtune.db"), tmp_path)


@pytest.fixture
async def workers(jobs: Jobs, tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(jobs, tmp_path, grace=0.5)
    yield workers
    await workers.close()


async def started(jobs: Jobs, workers: Workers, spec: Spec) -> Job:
    queued = jobs.queue("index build", "index:handbook", spec)
    await workers.start(queued, WORKER)
    return queued.job


async def at_work(jobs: Jobs, job: Job) -> psutil.Process:
    """Its process, once it has begun."""
    async with asyncio.timeout(20):
        while jobs.get(job.id).progress is None:
            await asyncio.sleep(0.01)
    (process,) = (child for child in psutil.Process().children() if job.id in child.cmdline())
    return process


async def test_a_worker_does_its_job_niced_and_on_one_thread_and_leaves_only_its_log(
    jobs: Jobs, workers: Workers, tmp_path: Path
) -> None:
    job = await started(jobs, workers, {"steps": 20})
    process = await at_work(jobs, job)
    assert process.nice() == 10 and os.getpgid(process.pid) == process.pid
    assert "nice 10, threads 1" in jobs.log(job.id).read_text()
    done = await workers.wait(job.id)
    assert (done.state, done.result) == ("succeeded", {"steps": 20, "reads": ""})
    assert list(jobs.folder.iterdir()) == [jobs.log(job.id)]
    assert jobs.tail(job.id, 2) == [f"step {step}, nice 10, threads 1" for step in (18, 19)]
    assert await workers.wait(job.id) == done


async def test_a_worker_may_be_given_more_threads(jobs: Jobs, workers: Workers) -> None:
    queued = jobs.queue("index build", "index:handbook", {"steps": 1})
    await workers.start(queued, WORKER, threads=3)
    await workers.wait(queued.job.id)
    assert jobs.tail(queued.job.id, 9) == ["step 0, nice 10, threads 3"]


async def test_jobs_that_start_in_turn_wait_for_each_other_and_can_be_cancelled_meanwhile(
    jobs: Jobs, workers: Workers
) -> None:
    first, second, third = (jobs.queue("training", f"adapter:{name}", {"steps": 40}) for name in "abc")
    for queued in (first, second, third):
        workers.start_in_turn(queued, WORKER)
    await at_work(jobs, first.job)
    assert [jobs.get(each.job.id).state for each in (first, second, third)] == ["running", "queued", "queued"]
    jobs.cancel(second.job.id)
    async with asyncio.timeout(1):
        assert (await workers.wait(second.job.id)).state == "cancelled"
    ended = await workers.wait(third.job.id)
    assert ended.state == "succeeded" and jobs.get(first.job.id).state == "succeeded"
    assert (ended.started or "") >= (jobs.get(first.job.id).finished or "z")


async def test_one_that_waits_for_its_turn_when_the_service_ends_can_be_resumed(jobs: Jobs, workers: Workers) -> None:
    first, second = (jobs.queue("training", f"adapter:{name}", FOR_EVER) for name in "ab")
    for queued in (first, second):
        workers.start_in_turn(queued, WORKER)
    await at_work(jobs, first.job)
    await workers.close()
    waited = jobs.get(second.job.id)
    assert waited.state == "failed" and waited.error is not None
    assert waited.error.code == "interrupted" and "the service ended before it began" in waited.error.message


async def test_one_that_cannot_be_started_lets_the_next_one_have_its_turn(
    jobs: Jobs, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (jobs.queue("training", f"adapter:{name}", {"steps": 1}) for name in "ab")
    with pytest.MonkeyPatch.context() as patched, caplog.at_level(logging.ERROR, "ragtune.jobs"):
        patched.setattr("sys.executable", "/no/such/python")
        workers.start_in_turn(first, WORKER)
        failed = await workers.wait(first.job.id)
    assert failed.state == "failed" and first.job.id in caplog.text
    workers.start_in_turn(second, WORKER)
    assert (await workers.wait(second.job.id)).state == "succeeded"


async def test_a_log_nobody_wrote_into_is_not_kept(jobs: Jobs, workers: Workers) -> None:
    job = await workers.wait((await started(jobs, workers, {"steps": 0})).id)
    assert job.state == "succeeded" and list(jobs.folder.iterdir()) == []
    assert jobs.tail(job.id, 9) == []


@pytest.mark.parametrize(
    ("spec", "code", "told", "logged"),
    [
        ({"raises": "refused"}, "refused_artifact", "broken.pdf is broken", "broken.pdf is broken"),
        ({"raises": "value"}, "internal_error", "ValueError", "ValueError: a surprise"),
        ({"dies": int(signal.SIGKILL)}, "interrupted", "it can be resumed", "signal 9: step 0"),
        ({"leaves": 3}, "interrupted", "it can be resumed", "exit code 3"),
    ],
)
async def test_a_worker_that_fails_or_dies_fails_its_job_and_its_last_words_are_in_the_log(
    jobs: Jobs, workers: Workers, caplog: pytest.LogCaptureFixture, spec: Spec, code: str, told: str, logged: str
) -> None:
    with caplog.at_level(logging.WARNING, "ragtune.jobs"):
        job = await workers.wait((await started(jobs, workers, spec)).id)
    assert job.state == "failed" and job.error is not None
    assert job.error.code == code and told in job.error.message
    assert job.id in caplog.text and logged in caplog.text
    jobs.queue("index build", "index:handbook", {}, resumes=job.id).lock.release()


async def test_a_worker_that_cannot_be_started_fails_its_job(
    jobs: Jobs, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        await started(jobs, workers, {})
    (job,) = jobs.newest(9)
    assert job.state == "failed" and job.error is not None and "could not be started" in job.error.message


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_cancelled_worker_is_asked_to_end_and_made_to_if_it_does_not(
    jobs: Jobs, workers: Workers, stubborn: bool
) -> None:
    job = await started(jobs, workers, {**FOR_EVER, "stubborn": stubborn})
    if not stubborn:
        await at_work(jobs, job)
    async with asyncio.timeout(20):
        while not jobs.log(job.id).read_bytes():
            await asyncio.sleep(0.01)
    jobs.cancel(job.id)
    async with asyncio.timeout(5):
        ended = await workers.wait(job.id)
    assert (ended.state, ended.error) == ("cancelled", None)


async def test_a_job_that_is_cancelled_before_its_worker_has_begun_is_not_begun(jobs: Jobs, workers: Workers) -> None:
    job = await started(jobs, workers, FOR_EVER)
    assert jobs.cancel(job.id).state == "cancelled"
    ended = await workers.wait(job.id)
    assert (ended.state, ended.started) == ("cancelled", None)


async def test_a_service_that_closes_ends_its_workers_and_their_jobs_can_be_resumed(
    jobs: Jobs, workers: Workers, tmp_path: Path
) -> None:
    job = await started(jobs, workers, FOR_EVER)
    process = await at_work(jobs, job)
    await workers.close()
    ended = jobs.get(job.id)
    assert not process.is_running()
    assert ended.state == "failed" and ended.error is not None and ended.error.code == "interrupted"
    jobs.queue("index build", "index:handbook", {}, resumes=job.id).lock.release()


async def test_who_waits_and_leaves_lets_the_worker_go_on(jobs: Jobs, workers: Workers) -> None:
    job = await started(jobs, workers, FOR_EVER)
    waiting = asyncio.create_task(workers.wait(job.id))
    process = await at_work(jobs, job)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert process.is_running() and jobs.get(job.id).state == "running"


async def test_a_worker_outlives_a_service_that_is_killed_and_its_job_is_done(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = (
        "import asyncio, os, sys; from pathlib import Path; from ragtune.jobs import Jobs\n"
        "from ragtune.store import Database; from service.working import Workers\n"
        "async def main():\n"
        "    home = Path(sys.argv[1]); jobs = Jobs(Database(home / 'ragtune.db'), home)\n"
        "    queued = jobs.queue('index build', 'index:handbook', {'steps': 5})\n"
        "    await Workers(jobs, home).start(queued, ('tests.job_worker',))\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", statements, str(tmp_path))
    assert await service.wait() == -signal.SIGKILL
    (job,) = jobs.newest(9)
    assert job.state in ("queued", "running")
    assert [event.seq for event in jobs.follow(job.id)][:3] == [1, 2, 3]
    assert jobs.get(job.id).state == "succeeded"
