"""The rows of jobs and of their events: each function is one step inside a transaction that the caller has opened."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, RowMapping, text

from ragtune.job import ACTIVE, ENDED, Failure, Job, JobEvent, Progress, Spec, State, StateChange

KEPT = 200  # jobs that have ended
_TOLD = 256  # events kept of a job at work; all of them are written, the oldest go
_COLUMNS = (
    "id, kind, resource, state, spec, author, tenant, created, started, finished, progress, result, error, "
    "cancel_requested, resumes"
)
_JSON = ("spec", "progress", "result", "error")


def now() -> str:
    """The time as rows have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def add(connection: Connection, job: Job) -> None:
    """A new job, and the event that says so."""
    values = ", ".join(f":{name}" for name in _COLUMNS.split(", "))
    connection.execute(text(f"INSERT INTO job ({_COLUMNS}) VALUES ({values})"), _row(job.model_dump(mode="json")))
    _tell(connection, job.id, "state", StateChange(state=job.state))


def find(connection: Connection, job_id: str) -> Job | None:
    """The job with this id."""
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM job WHERE id = :id"), {"id": job_id}).mappings().first()
    return None if row is None else _job(row)


def select(connection: Connection, limit: int, **wanted: str | None) -> list[Job]:
    """Up to `limit` jobs whose columns have the values that are `wanted`, if any; newest first."""
    asked = {column: value for column, value in wanted.items() if value is not None}
    where = " AND ".join(f"{column} = :{column}" for column in asked) or "1"
    query = text(f"SELECT {_COLUMNS} FROM job WHERE {where} ORDER BY number DESC LIMIT :limit")
    return [_job(row) for row in connection.execute(query, asked | {"limit": limit}).mappings()]


def active(connection: Connection, resource: str | None = None) -> list[Job]:
    """The jobs that are queued or running, on one resource or on all."""
    query = text(
        f"SELECT {_COLUMNS} FROM job WHERE state IN {_quoted(ACTIVE)} AND resource = coalesce(:resource, resource)"
    )
    return [_job(row) for row in connection.execute(query, {"resource": resource}).mappings()]


def move(
    connection: Connection,
    job_id: str,
    state: State,
    result: Spec | None = None,
    error: Failure | None = None,
) -> bool:
    """Bring a job forward to `state`, with an event; False, and nothing done, if it is there or has ended already."""
    column = "started" if state == "running" else "finished"
    change = StateChange(state=state, result=result, error=error)
    values = _row({"id": job_id, "time": now(), **change.model_dump(mode="json")})
    done = connection.execute(
        text(
            f"""UPDATE job SET state = :state, {column} = :time, result = :result, error = :error
                WHERE id = :id AND state IN {_quoted(ACTIVE)} AND state != :state"""
        ),
        values,
    )
    if done.rowcount:
        _tell(connection, job_id, "state", change)
    return bool(done.rowcount)


def advance(connection: Connection, job_id: str, progress: Progress) -> None:
    """Write down how far a running job is, with an event."""
    connection.execute(
        text("UPDATE job SET progress = :progress WHERE id = :id AND state = 'running'"),
        {"id": job_id, "progress": progress.model_dump_json()},
    )
    _tell(connection, job_id, "progress", progress)


def ask_to_stop(connection: Connection, job_id: str) -> None:
    """Note that a job at work is to be cancelled; the first time counts."""
    query = f"""UPDATE job SET cancel_requested = coalesce(cancel_requested, :time)
                WHERE id = :id AND state IN {_quoted(ACTIVE)}"""
    connection.execute(text(query), {"id": job_id, "time": now()})


def is_to_stop(connection: Connection, job_id: str) -> bool:
    """Whether somebody asked for that."""
    query = text("SELECT 1 FROM job WHERE id = :id AND cancel_requested IS NOT NULL")
    return connection.execute(query, {"id": job_id}).first() is not None


def events(connection: Connection, job_id: str, after: int) -> list[JobEvent]:
    """What happened to a job since the event `after`, oldest first."""
    query = text("SELECT seq, time, type, data FROM job_event WHERE job = :job AND seq > :after ORDER BY seq")
    return [_event(row) for row in connection.execute(query, {"job": job_id, "after": after}).mappings()]


def forget_old(connection: Connection) -> list[str]:
    """Delete all but the newest jobs that have ended, with their events; the ids that are gone."""
    old = text(f"SELECT id FROM job WHERE state IN {_quoted(ENDED)} ORDER BY number DESC LIMIT -1 OFFSET {KEPT}")
    gone = list(connection.execute(old).scalars())
    for job_id in gone:
        connection.execute(text("DELETE FROM job_event WHERE job = :id"), {"id": job_id})
        connection.execute(text("DELETE FROM job WHERE id = :id"), {"id": job_id})
    return gone


def _tell(connection: Connection, job_id: str, kind: str, data: BaseModel) -> None:
    last = connection.execute(text("SELECT max(seq) FROM job_event WHERE job = :job"), {"job": job_id}).scalar()
    seq = (last or 0) + 1
    connection.execute(
        text("INSERT INTO job_event (job, seq, time, type, data) VALUES (:job, :seq, :time, :type, :data)"),
        {"job": job_id, "seq": seq, "time": now(), "type": kind, "data": data.model_dump_json()},
    )
    if seq % _TOLD == 0:  # now and then; states are few, and stay
        connection.execute(
            text("DELETE FROM job_event WHERE job = :job AND seq <= :seq AND type = 'progress'"),
            {"job": job_id, "seq": seq - _TOLD},
        )


def _job(row: RowMapping) -> Job:
    read = {name: json.loads(row[name]) for name in _JSON if row[name] is not None}
    return Job.model_validate(dict(row) | read)


def _event(row: RowMapping) -> JobEvent:
    return JobEvent.model_validate(dict(row) | {"data": json.loads(row["data"])})


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    """As SQLite takes it: what is structured as JSON."""
    return {name: json.dumps(it) if name in _JSON and it is not None else it for name, it in values.items()}


def _quoted(states: Iterable[State]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"
