"""Jobs: one at a time on a resource, states that only go forward, none that runs for ever after its process died."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from ragtune.errors import AlreadyRunning, Cancelled, IncompatibleParts, Interrupted, RefusedArtifact, UnknownName
from ragtune.job import Job, JobEvent, Progress, Spec, StateChange
from ragtune.job_table import KEPT
from ragtune.jobs import Jobs, QueuedJob
from ragtune.store import Database

KIND, HANDBOOK = "index build", "index:handbook"
ROOT = Path(__file__).parents[2]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "ragtune.db")
    yield database
    database.close()


@pytest.fixture
def jobs(tmp_path: Path, database: Database, clock: Clock) -> Jobs:
    return Jobs(database, tmp_path, clock)


def told(jobs: Jobs, job: Job) -> list[str]:
    """Its events in short."""
    return [_short(event) for event in jobs.events(job.id)]


def _short(event: JobEvent) -> str:
    return event.data.state if isinstance(event.data, StateChange) else f"{event.data.stage} {event.data.done}"


@contextmanager
def worker(jobs: Jobs, queued: QueuedJob, home: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process at the job, started with its lock, which nobody else has any more."""
    environment = os.environ | {"RAGTUNE_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "tests.job_worker", "--job", queued.job.id]
    with subprocess.Popen(
        command, stdin=queued.lock.file, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        queued.lock.hand_over()
        yield process
        process.kill()


def step(process: "subprocess.Popen[str]") -> None:
    """Wait until it has begun."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith("step 0")


def test_a_job_that_ends_well_tells_its_life_from_the_queue_to_its_result(jobs: Jobs) -> None:
    with jobs.run(KIND, HANDBOOK, {"path": "docs"}, author="ann") as running:
        job = jobs.get(running.job.id)
        assert (job.state, job.author, job.spec, job.finished) == ("running", "ann", {"path": "docs"}, None)
        running.progress(0, 2, unit="passages", stage="embedding")
        running.progress(2, 2, unit="passages", stage="embedding")
        running.result = {"version": "handbook@1"}
    job = jobs.get(job.id)
    assert (job.state, job.result, job.error) == ("succeeded", {"version": "handbook@1"}, None)
    assert job.started is not None and job.finished is not None and job.created <= job.started <= job.finished
    assert told(jobs, job) == ["queued", "running", "embedding 0", "embedding 2", "succeeded"]
    assert [event.seq for event in jobs.events(job.id)] == [1, 2, 3, 4, 5]
    assert jobs.events(job.id, after=3) == jobs.events(job.id)[3:]
    assert list(jobs.follow(job.id)) == jobs.events(job.id)
    assert list(jobs.folder.iterdir()) == []  # no lock is left
    job.check()


def test_a_second_job_of_the_resource_is_told_which_one_runs_how_far_it_is_and_what_can_be_done(jobs: Jobs) -> None:
    with jobs.run(KIND, HANDBOOK, {}) as running, jobs.run(KIND, "index:other", {}):
        running.progress(30, 120, unit="passages", stage="embedding")
        with pytest.raises(AlreadyRunning) as refused:
            jobs.queue(KIND, HANDBOOK, {})
        job = jobs.get(running.job.id)
        for part in (job.id, str(job.started), "embedding 30 of 120 passages (25 %)", "job watch", "job cancel"):
            assert part in refused.value.message
        with pytest.raises(AlreadyRunning, match="somebody else") as private:
            jobs.queue(KIND, HANDBOOK, {}, tenant="acme")
        assert job.id not in private.value.message
    with jobs.run(KIND, HANDBOOK, {}):
        pass


def test_of_many_who_want_a_resource_at_once_one_gets_it(jobs: Jobs) -> None:
    got, refused = list[QueuedJob](), list[AlreadyRunning]()

    def want() -> None:
        try:
            got.append(jobs.queue(KIND, HANDBOOK, {}))
        except AlreadyRunning as error:
            refused.append(error)

    threads = [threading.Thread(target=want) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 11)
    assert [job.id for job in jobs.newest(99)] == [got[0].job.id]


@pytest.mark.parametrize(
    ("reason", "state", "code"),
    [
        (RefusedArtifact("nothing to index"), "failed", "refused_artifact"),
        (ValueError("a surprise"), "failed", "internal_error"),
        (KeyboardInterrupt(), "cancelled", None),
        (SystemExit(3), "failed", "internal_error"),
    ],
)
def test_what_ends_the_work_ends_the_job_and_is_raised_on(
    jobs: Jobs, reason: BaseException, state: str, code: str | None
) -> None:
    with pytest.raises(type(reason)), jobs.run(KIND, HANDBOOK, {}) as running:
        running.result = {"version": "half"}
        raise reason
    job = jobs.get(running.job.id)
    assert (job.state, job.error and job.error.code, job.result) == (state, code, None)
    assert "a surprise" not in str(job.error)  # which may be anything; the process that failed shows it
    with pytest.raises((RefusedArtifact, Interrupted, Exception)):
        job.check()


def test_states_only_go_forward(jobs: Jobs, database: Database) -> None:
    with jobs.run(KIND, HANDBOOK, {}) as running:
        jobs.bury(running.job.id, "somebody was mistaken")
        with pytest.raises(Cancelled, match="ended by somebody else"):
            running.check()
    assert jobs.get(running.job.id).state == "failed"
    assert told(jobs, running.job) == ["queued", "running", "failed"]
    with pytest.raises(IncompatibleParts, match="failed already"):
        jobs.cancel(running.job.id)


def test_a_job_hears_that_it_is_to_stop_where_it_tells_how_far_it_is(jobs: Jobs, clock: Clock) -> None:
    with pytest.raises(Cancelled, match="was cancelled"), jobs.run(KIND, HANDBOOK, {}) as running:
        running.progress(0, 9, unit="passages", stage="embedding")
        asked = jobs.cancel(running.job.id)
        assert asked.state == "running" and asked.cancel_requested
        assert jobs.cancel(running.job.id) == asked
        running.progress(1, 9, unit="passages", stage="embedding")  # too soon after the last look
        clock.now += 0.3
        running.progress(2, 9, unit="passages", stage="embedding")
    job = jobs.get(running.job.id)
    assert (job.state, job.error) == ("cancelled", None)
    assert jobs.cancel(job.id) == job
    with pytest.raises(Interrupted, match=r"was cancelled; start it again"):
        job.check()


def test_a_queued_job_is_cancelled_at_once_and_its_resource_is_free(jobs: Jobs) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {})
    assert jobs.cancel(queued.job.id).state == "cancelled"
    jobs.queue(KIND, HANDBOOK, {})


def test_progress_is_written_four_times_a_second_and_the_last_of_a_stage_always(jobs: Jobs, clock: Clock) -> None:
    with jobs.run(KIND, HANDBOOK, {}) as running:
        for done in range(101):
            running.progress(done, 100, unit="passages", stage="embedding")
            running.progress(done, 100, unit="passages", stage="embedding")
            clock.now += 0.02
        for done in range(3):
            running.progress(done, 9, unit="files", stage="writing")
        running.progress(0, None, unit="files", stage="checking")
        running.progress(1, None, unit="files", stage="checking")
    written = [e.data for e in jobs.events(running.job.id) if isinstance(e.data, Progress)]
    embedding = [progress.done for progress in written if progress.stage == "embedding"]
    assert embedding == [*range(0, 100, 13), 100]  # 2 s
    others = [(progress.stage, progress.done) for progress in written if progress.stage != "embedding"]
    assert others == [("writing", 0), ("writing", 2), ("checking", 0), ("checking", 1)]
    last = written[len(embedding) - 2]
    assert (last.done, last.percent, last.rate, last.eta_seconds) == (91, 91.0, pytest.approx(50), pytest.approx(0.18))
    assert str(last) == "embedding 91 of 100 passages (91 %), 50.0 passages/s, 0 s left"
    assert jobs.get(running.job.id).progress == written[-1]


def test_of_a_long_job_the_latest_progress_and_every_state_are_kept(jobs: Jobs, clock: Clock) -> None:
    with jobs.run(KIND, HANDBOOK, {}) as running:
        for done in range(600):
            running.progress(done, 1000, unit="passages", stage="embedding")
            clock.now += 1
    events = jobs.events(running.job.id)
    assert (events[0].seq, events[1].seq, events[-1].seq) == (1, 2, 603)
    assert 256 <= len(events) <= 516
    assert [event.seq for event in events[2:]] == list(range(events[2].seq, 604))


def test_a_job_whose_process_was_killed_has_failed_for_whoever_looks_and_blocks_nobody(
    jobs: Jobs, tmp_path: Path
) -> None:
    looks = (
        lambda job: jobs.get(job.id),
        lambda job: jobs.newest(1)[0],
        lambda job: jobs.recover() and jobs.get(job.id),
        lambda job: jobs.queue(KIND, HANDBOOK, {"steps": 99}).lock.release() or jobs.get(job.id),
        lambda job: list(jobs.follow(job.id)) and jobs.get(job.id),
    )
    before = None
    for look in looks:
        queued = jobs.queue(KIND, HANDBOOK, {"steps": 999}, resumes=before)
        with worker(jobs, queued, tmp_path) as process:
            step(process)
            assert jobs.recover() == []
            assert jobs.get(queued.job.id).state == "running"
            process.send_signal(signal.SIGKILL)
            process.wait()
            job = look(queued.job)
        assert (job.state, job.error.code) == ("failed", "interrupted")
        assert "it can be resumed" in job.error.message
        assert told(jobs, job)[-1] == "failed"
        with pytest.raises(Interrupted):
            job.check()
        before = job.id
        assert jobs.get(job.id).resumes == queued.job.resumes


def test_a_job_that_waits_for_its_worker_is_not_taken_for_a_dead_one(jobs: Jobs, tmp_path: Path) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {"steps": 2})
    assert jobs.recover() == []
    with worker(jobs, queued, tmp_path) as process:
        states = {jobs.get(queued.job.id).state}
        while process.poll() is None:
            assert jobs.recover() == []
            states.add(jobs.get(queued.job.id).state)
            time.sleep(0.002)
    job = jobs.get(queued.job.id)
    assert job.state == "succeeded" and {"queued", "running"} <= states
    assert job.result == {"steps": 2, "reads": ""}  # its standard input is empty, and no lock any more


def test_a_job_whose_creator_died_before_it_had_a_worker_has_failed(jobs: Jobs, tmp_path: Path) -> None:
    statements = (
        "import os; from pathlib import Path; from ragtune.jobs import Jobs; from ragtune.store import Database\n"
        f"queued = Jobs(Database(Path({str(tmp_path / 'ragtune.db')!r})), Path({str(tmp_path)!r})).queue"
        f"({KIND!r}, {HANDBOOK!r}, {{}}); print(queued.job.id, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", statements], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    job = jobs.get(done.stdout.strip())
    assert (job.state, job.started) == ("failed", None)


@pytest.mark.parametrize(("cancelled", "state"), [(False, "failed"), (True, "cancelled")])
def test_sigterm_interrupts_a_job_and_cancels_it_only_if_somebody_asked_for_that(
    jobs: Jobs, tmp_path: Path, cancelled: bool, state: str
) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {"steps": 999})
    with worker(jobs, queued, tmp_path) as process:
        step(process)
        if cancelled:
            jobs.cancel(queued.job.id)
        process.send_signal(signal.SIGTERM)
        assert process.wait() != 0
    job = jobs.get(queued.job.id)
    assert job.state == state
    if not cancelled:
        assert job.error is not None and job.error.code == "interrupted" and "told to end" in job.error.message


def test_a_killed_job_that_was_to_be_cancelled_is_cancelled(jobs: Jobs, tmp_path: Path) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {"steps": 999, "stubborn": True})
    with worker(jobs, queued, tmp_path) as process:
        step(process)
        jobs.cancel(queued.job.id)
        process.kill()
    assert jobs.get(queued.job.id).state == "cancelled"


def test_only_a_process_that_was_given_the_lock_can_take_a_job(jobs: Jobs) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {})
    with pytest.raises(IncompatibleParts, match="a process that the service starts"), jobs.take(queued.job.id):
        pass
    assert jobs.get(queued.job.id).state == "queued"


def test_what_another_job_can_go_on_with_is_a_failed_or_cancelled_one_of_the_same_resource(jobs: Jobs) -> None:
    with jobs.run(KIND, HANDBOOK, {}) as done:
        pass
    with pytest.raises(KeyboardInterrupt), jobs.run(KIND, "index:other", {}) as other:
        raise KeyboardInterrupt
    for wrong in (done, other):
        with pytest.raises(IncompatibleParts, match="resume"):
            jobs.queue(KIND, HANDBOOK, {}, resumes=wrong.job.id)
    with pytest.raises(UnknownName, match="did you mean"):
        jobs.queue(KIND, HANDBOOK, {}, resumes=done.job.id[:-1])
    assert len(jobs.newest(99)) == 2
    assert jobs.queue(KIND, "index:other", {}, resumes=other.job.id).job.resumes == other.job.id


def test_a_tenant_sees_its_own_jobs_alone_and_whoever_has_none_sees_all(jobs: Jobs) -> None:
    made = {tenant: jobs.queue(KIND, f"index:of-{tenant}", {}, tenant=tenant) for tenant in ("acme", "brevik", "")}
    assert [job.tenant for job in jobs.newest(99)] == ["", "brevik", "acme"]
    assert [job.tenant for job in jobs.newest(99, tenant="acme")] == ["acme"]
    foreign = made["brevik"].job.id
    for forbidden in (jobs.get, jobs.cancel):
        with pytest.raises(UnknownName) as refused:
            forbidden(foreign, "acme")
        assert made[""].job.id not in refused.value.message and foreign not in refused.value.message.partition(";")[2]
    assert jobs.get(foreign, "brevik").state == "queued"


def test_jobs_are_listed_newest_first_by_what_is_asked_for(jobs: Jobs) -> None:
    held = jobs.queue(KIND, HANDBOOK, {}), jobs.queue("training", "adapter:support", {})
    first, second = (queued.job for queued in held)
    jobs.cancel(first.id)
    assert [job.id for job in jobs.newest(99)] == [second.id, first.id]
    assert [job.id for job in jobs.newest(1)] == [second.id]
    for wanted in (
        {"kind": KIND},
        {"resource": HANDBOOK},
        {"state": "cancelled"},
        {"kind": KIND, "state": "cancelled"},
    ):
        assert [job.id for job in jobs.newest(99, **wanted)] == [first.id]
    assert jobs.newest(99, kind="training", state="cancelled") == []


def test_of_jobs_that_have_ended_the_newest_two_hundred_are_kept(jobs: Jobs, database: Database) -> None:
    waiting = jobs.queue("training", "adapter:support", {})
    ids = []
    for number in range(KEPT + 3):
        with jobs.run(KIND, HANDBOOK, {"number": number}) as running:
            ids.append(running.job.id)
            jobs.log(running.job.id).write_text("a log")
    last = jobs.queue(KIND, HANDBOOK, {}).job.id
    kept = [job.id for job in jobs.newest(999)]
    assert kept == [last, *reversed(ids[3:]), waiting.job.id]
    assert [jobs.log(job_id).exists() for job_id in ids[:4]] == [False, False, False, True]
    with database.read() as connection:
        told = connection.execute(text("SELECT count(DISTINCT job) FROM job_event")).scalar_one()
    assert told == KEPT + 2


def test_a_home_whose_jobs_were_written_by_an_older_ragtune_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "old" / "ragtune.db"
    old = Database(path)
    with old.write() as connection:
        for table in ("job", "job_event", "document", "document_text", "source", "hidden", "feedback"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("PRAGMA user_version = 4"))
    old.close()
    spec: Spec = {"names": ["a", None, {"b": 1.5}]}
    with Jobs(Database(path), path.parent).run(KIND, HANDBOOK, spec) as running:
        assert running.job.spec == spec
