"""/v1/evaluations: run a suite against this service as a job, list them, show one, and hand out its report."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragtune.errors import Forbidden, IncompatibleParts, UnknownName
from ragtune.evaluation import JOB, REPORTS, EvaluationSpec, Format, Summary
from ragtune.examples import Example
from ragtune.job import Job
from service.access import author, needs, tenant
from service.documented import NAMED, refusals
from service.evaluating import evaluate
from service.parts import Parts

_ACCEPTED = 202
_BEGUN: dict[int | str, dict[str, Any]] = {_ACCEPTED: {"description": "The job has begun.", "model": Job}}
_TYPES: dict[Format, str] = {"json": "application/json", "html": "text/html", "markdown": "text/markdown"}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"arms": [], "differences": []}},
            "text/html": {"schema": {"type": "string"}, "example": "<!doctype html>..."},
            "text/markdown": {"schema": {"type": "string"}, "example": "**quality**"},
        },
    }
}
_SEALED = {  # it shows texts of documents and models: whatever they hold, the page reaches nothing of this service
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}
_EXAMPLE: dict[str, JsonValue] = {
    "name": "handbook",
    "tasks": [
        {
            "name": "knowledge",
            "metrics": ["containment", "token_f1"],
            "examples": [{"id": "1", "query": "How long is the warranty?", "answers": ["26 months"]}],
        }
    ],
    "arms": [{"mode": "base"}, {"mode": "rag"}],
    "comparisons": [{"task": "knowledge", "metric": "containment", "arm": "rag", "over": "base"}],
}

JobId = Annotated[str, PathParameter(alias="id", description="the id of the job", examples=["job-4f2a91c07d"])]
As = Annotated[Format, Query(alias="format", description="of the report")]


class SentTask(BaseModel):
    """A task as in TOML. `examples` are a file of the server inside RAGTUNE_EVALUATION_ROOTS, or the examples
    themselves."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    examples: str | Annotated[list[Example], Field(min_length=1)]


class EvaluationRequest(BaseModel):
    """A suite, its fields those of the TOML file: beside `name`, `tasks` and `arms` also comparisons, gates, seeds and
    so on. Outside endpoints are for `ragtune eval run`."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    name: str = Field(min_length=1)
    tasks: list[SentTask] = Field(min_length=1)
    arms: list[dict[str, JsonValue]] = Field(min_length=1)


class Evaluation(BaseModel):
    """An evaluation: its job, and what it came to once that has succeeded."""

    job: Job
    summary: Summary | None = None


def router(parts: Parts) -> APIRouter:
    """/v1/evaluations."""
    routes = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])

    @routes.get("", dependencies=[needs("query")], responses=refusals(400))
    async def evaluations_list(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000, description="evaluations at most")] = 100
    ) -> list[Evaluation]:
        """Evaluations at work and those that have ended lately, newest first."""
        jobs = await asyncio.to_thread(parts.jobs.newest, limit, kind=JOB, tenant=tenant(request))
        return [_told(job) for job in jobs]

    @routes.post("", dependencies=[needs("eval")], responses=refusals(*NAMED, 413, 422, 507) | _BEGUN)
    async def evaluations_start(
        body: EvaluationRequest,
        request: Request,
        response: Response,
        wait: Annotated[bool, Query(description="answer when the job is done")] = False,
    ) -> Job:
        """Ask this service every example of a suite in every mode of it, and report, as a job in a process of its own.

        One evaluation or training at a time: others wait their turn. Whatever is wrong with the suite, its files or its
        modes is refused before there is a job. Watch, cancel and resume it under /v1/jobs.
        """
        if own := tenant(request):
            raise Forbidden(f"an evaluation asks for and shows what is everybody's; this key is only of {own!r}")
        suite = body.model_dump(mode="json", exclude_unset=True)
        sent = {place: task.examples for place, task in enumerate(body.tasks) if isinstance(task.examples, list)}
        job = await evaluate(parts, suite, sent, author(request))
        if wait:
            return await parts.workers.done(job)
        response.status_code = _ACCEPTED
        return job

    @routes.get("/{id}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def evaluations_get(job_id: JobId, request: Request) -> Evaluation:
        """An evaluation: how far it is, or what it came to."""
        return _told(await asyncio.to_thread(_job, parts, job_id, tenant(request)))

    @routes.get(
        "/{id}/report",
        dependencies=[needs("eval")],
        response_class=Response,
        responses=refusals(*NAMED, 422) | _REPORT,
    )
    async def evaluations_report(job_id: JobId, request: Request, shown_as: As = "json") -> Response:
        """The report of an evaluation that has succeeded. It shows questions, answers and passages, and so needs the
        scope that starts one."""
        job = await asyncio.to_thread(_job, parts, job_id, tenant(request))
        content = await asyncio.to_thread(_report, parts, job, shown_as)
        return Response(content, media_type=_TYPES[shown_as], headers=_SEALED)

    return routes


def _job(parts: Parts, job_id: str, owner: str) -> Job:
    """Raises UnknownName, also for a job that is no evaluation."""
    job = parts.jobs.get(job_id, owner)
    if job.kind != JOB:
        raise UnknownName(f"{job_id} is no evaluation but the {job.kind} of {job.resource}", param="id")
    return job


def _told(job: Job) -> Evaluation:
    return Evaluation(job=job, summary=Summary.model_validate(job.result) if job.result else None)


def _report(parts: Parts, job: Job, shown_as: Format) -> bytes:
    """Raises IncompatibleParts where there is none (yet), UnknownName if somebody has removed it."""
    if not job.ended:
        raise IncompatibleParts(f"the evaluation {job.id} is {job.state}; its report is made at its end", param="id")
    if job.state != "succeeded":
        raise IncompatibleParts(
            f"the evaluation {job.id} is {job.state} and has no report; POST /v1/jobs/{job.id}/resume goes on with it",
            param="id",
        )
    path = parts.settings.runs / EvaluationSpec.model_validate(job.spec).run / REPORTS[shown_as]
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnknownName(f"the report of {job.id} is no longer there; its run was removed", param="id") from error
