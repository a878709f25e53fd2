"""/v1/jobs: list, show, watch and cancel the long work of this home, whoever does it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as PathParameter
from pydantic import ValidationError
from starlette.responses import PlainTextResponse, Response

from indexer import building
from ragtune import evaluation
from ragtune.errors import IncompatibleParts
from ragtune.job import SCOPES, Job, JobEvent, Kind, State
from ragtune.roots import inside
from service import training
from service.access import allow, author, needs, tenant
from service.disconnect import EventStream
from service.documented import NAMED, events, refusals
from service.errors import as_event
from service.evaluating import begin
from service.parts import Parts
from service.submitting import submit

_POLL = 0.25  # seconds
_MOST = 2**63 - 1  # SQLite has no larger number
_EXAMPLE = """id: 3
event: progress
data: {"stage":"training","done":51,"total":204,"unit":"steps","percent":25.0,"rate":1.2,"eta_seconds":127.5,\
"figures":{"loss":1.31}}

: keep-alive

id: 4
event: state
data: {"state":"succeeded","result":{"version":"support-lora@4"},"error":null}

"""
_LOG = {
    "schema": {"type": "string"},
    "example": "12:00:31 training 51 of 204 steps, loss 1.31, 640 tokens/s\n",
}

JobId = Annotated[str, PathParameter(alias="id", description="the id of a job", examples=["job-4f2a91c07d"])]
Limit = Annotated[int, Query(ge=1, le=1000, description="jobs at most")]
OfKind = Annotated[Kind | None, Query(description="only jobs of this kind")]
OfResource = Annotated[
    str | None, Query(description="only jobs on this resource", max_length=256, examples=["index:handbook"])
]
InState = Annotated[State | None, Query(description="only jobs in this state")]
Lines = Annotated[int, Query(ge=1, le=10_000, description="lines at most, of the last mebibyte")]
After = Annotated[
    int,
    Header(
        alias="Last-Event-ID", ge=0, le=_MOST, description="the id of the last event that is known; later ones follow"
    ),
]


def router(parts: Parts) -> APIRouter:
    """/v1/jobs."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @routes.get("", dependencies=[needs("query")], responses=refusals(400))
    async def jobs_list(
        request: Request,
        kind: OfKind = None,
        resource: OfResource = None,
        state: InState = None,
        limit: Limit = 100,
    ) -> list[Job]:
        """Jobs at work and those that have ended lately, newest first. A key with a tenant sees those of its tenant."""
        return await asyncio.to_thread(
            parts.jobs.newest, limit, kind=kind, resource=resource, state=state, tenant=tenant(request)
        )

    @routes.get("/{id}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def jobs_get(job_id: JobId, request: Request) -> Job:
        """A job: its state, how far it is, what it made, or why it failed."""
        return await asyncio.to_thread(parts.jobs.get, job_id, tenant(request))

    @routes.get(
        "/{id}/events",
        dependencies=[needs("query")],
        response_class=Response,
        responses=refusals(*NAMED)
        | events("Progress and states as they come. The last event is the job's last state.", _EXAMPLE),
    )
    async def jobs_events(job_id: JobId, request: Request, after: After = 0) -> Response:
        """What happens to a job, from its beginning or after the event `Last-Event-ID`, to its end.

        The stream may also end because the service does; connect again then, as an EventSource does by itself.
        """
        await asyncio.to_thread(parts.jobs.get, job_id, tenant(request))
        return EventStream(_told(request, job_id, after, parts), lambda: None)

    @routes.post("/{id}/cancel", dependencies=[needs(*SCOPES.values())], responses=refusals(*NAMED, 422, 507))
    async def jobs_cancel(job_id: JobId, request: Request) -> Job:
        """Cancel a job, which needs the scope that starts one of its kind; answers with the job as it is then.

        A queued one has ended at once, one that runs ends soon.
        """
        job = await asyncio.to_thread(parts.jobs.get, job_id, tenant(request))
        allow(request, SCOPES[job.kind])
        return await asyncio.to_thread(parts.jobs.cancel, job_id, tenant(request))

    @routes.post(
        "/{id}/resume",
        dependencies=[needs(*SCOPES.values())],
        responses=refusals(*NAMED, 422, 423, 507),
        status_code=202,
    )
    async def jobs_resume(job_id: JobId, request: Request) -> Job:
        """Go on with a job that has failed or was cancelled, as a new one; what it had done is not done again."""
        job = await asyncio.to_thread(parts.jobs.get, job_id, tenant(request))
        allow(request, SCOPES[job.kind])
        try:
            return await _resumed(job, parts, author(request))
        except ValidationError as error:
            raise IncompatibleParts("this job was written by another ragtune; start it again", param="id") from error

    @routes.get(
        "/{id}/log",
        dependencies=[needs(*SCOPES.values())],
        response_class=Response,
        responses=refusals(*NAMED) | {200: {"description": "The last lines.", "content": {"text/plain": _LOG}}},
    )
    async def jobs_log(job_id: JobId, request: Request, lines: Lines = 200) -> Response:
        """The last lines that a job's process has written, as far as it has come. It may name files and show data, and
        so needs the scope that starts such a job.

        Empty where it wrote nothing, and for a job of a command, which speaks in its terminal.
        """
        job = await asyncio.to_thread(parts.jobs.get, job_id, tenant(request))
        allow(request, SCOPES[job.kind])
        written = await asyncio.to_thread(parts.jobs.tail, job_id, lines)
        return PlainTextResponse("".join(f"{line}\n" for line in written))

    return routes


async def _resumed(job: Job, parts: Parts, who: str) -> Job:
    """The new job. Raises IncompatibleParts for a kind that cannot be resumed, ValidationError for a spec that nobody
    understands any more."""
    if job.kind == training.JOB:
        spec = training.TrainingSpec.model_validate(job.spec)
        return await submit(parts, spec.model_copy(update={"fresh": False}), who, resumes=job.id)
    if job.kind == evaluation.JOB:
        return await begin(parts, evaluation.EvaluationSpec.model_validate(job.spec), who, resumes=job.id)
    if job.kind != building.JOB:
        raise IncompatibleParts(f"a {job.kind} cannot be resumed; start it again", param="id")
    build = building.BuildSpec.model_validate(job.spec)
    if build.path is not None:
        inside(Path(build.path), parts.settings.document_roots, "RAGTUNE_DOCUMENT_ROOTS", "id")
    return await parts.rebuilding.start(build, who, job.tenant, resumes=job.id)


async def _told(request: Request, job_id: str, after: int, parts: Parts) -> AsyncGenerator[str]:
    clock, ended = asyncio.get_running_loop().time, False
    silent_since = clock()
    try:
        while not ended and not parts.lifecycle.draining:
            ended, happened = await asyncio.to_thread(_look, parts, job_id, after, tenant(request))
            for event in happened:
                after = event.seq
                yield f"id: {event.seq}\nevent: {event.type}\ndata: {event.data.model_dump_json()}\n\n"
            if happened:
                silent_since = clock()
            elif clock() - silent_since >= parts.settings.keep_alive:
                silent_since = clock()
                yield ": keep-alive\n\n"
            if not ended:
                await asyncio.sleep(_POLL)
    except Exception as error:  # noqa: BLE001 - the border: headers are out, so it must travel as an event
        yield f"event: error\ndata: {as_event(request, error).model_dump_json()}\n\n"


def _look(parts: Parts, job_id: str, after: int, owner: str) -> tuple[bool, list[JobEvent]]:
    """Whether the job has ended, and what happened since; of one that has, its last event in any case."""
    ended = parts.jobs.get(job_id, owner).ended  # before the events, so that the last one is among them
    happened = parts.jobs.events(job_id, after)
    return ended, happened or (parts.jobs.events(job_id)[-1:] if ended else [])
