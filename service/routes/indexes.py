"""/v1/indexes: list, show, search, build, roll back, delete."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from indexer.building import BuildSpec
from indexer.search import Search
from indexer.store import IndexManifest
from ragtune.errors import Forbidden, Unavailable
from ragtune.job import Job
from ragtune.mode import Ref, check_name
from ragtune.pointers import ITSELF
from ragtune.roots import inside
from ragtune.settings import Retrieval
from ragtune.versions import Version
from ragtune.wire import Filters, Passage, Retrieving
from service.access import author, needs, tenant
from service.documented import NAMED, refusals
from service.limits import check_length
from service.parts import Parts
from service.pins import pin
from service.removing import remove_index
from service.routes.described import THE_NAME, Deleted, Described, Name, Rollback

_ACCEPTED = 202


class SearchRequest(BaseModel):
    """A search in one index; what is absent is as the service is set."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "How long is the warranty?", "top_k": 3, "filters": {"lang": ["en", "de"]}}]
        },
    )

    query: str = Field(min_length=1)
    top_k: int = Field(default=4, ge=1, le=1000)
    retrieval: Retrieval | None = Field(default=None, description="by meaning, by words, or both")
    filters: Filters = Field(
        default={}, description="metadata a document must have: each field this value, or one of these"
    )
    min_score: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="a cosine; a BM25 score for lexical, the reranker's where there is one",
    )
    documents: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="only passages of the documents with these ids"
    )
    without_documents: tuple[str, ...] = Field(
        default=(), max_length=100, description="no passages of the documents with these ids"
    )


class SearchAnswer(BaseModel):
    """The passages that were found, best first, and the one version they are all of."""

    version: str
    method: Retrieval
    passages: list[Passage]


class BuildRequest(BaseModel):
    """What to build from: a folder of the server inside an allowed root, or, without a path, the documents as they are.

    With `delete`, documents that are gone from the folder are deleted, and so hidden in every version.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "/data/handbook"}, {}]})

    path: Path | None = None
    max_tokens: int | None = Field(
        default=None, ge=32, le=8192, description="of a passage at most; absent: as in the current version"
    )
    delete: bool = False


_BEGUN: dict[int | str, dict[str, Any]] = {_ACCEPTED: {"description": "The job has begun.", "model": Job}}


def router(parts: Parts) -> APIRouter:
    """/v1/indexes."""
    routes = APIRouter(prefix="/v1/indexes", tags=["indexes"])

    @routes.get("", dependencies=[needs("query")])
    async def indexes_list(request: Request) -> list[Described[IndexManifest]]:
        """The current version of every index."""
        return [_shown(version, request) for version in parts.indexes.versions.current()]

    @routes.get("/{name}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def indexes_get(name: Name, request: Request) -> Described[IndexManifest]:
        """The version `name` or `name@version` means. What could not be read of it is told to keys without a tenant."""
        return _shown(parts.indexes.resolve(Ref.parse(name, "index"), param="name"), request)

    @routes.get("/{name}/versions", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def indexes_versions(name: Name, request: Request) -> list[Described[IndexManifest]]:
        """The versions of `name` that are kept, oldest first."""
        kept = parts.indexes.versions.of(check_name(name, "index"), param="name")
        return [_shown(version, request) for version in kept]

    @routes.delete("/{name}", dependencies=[needs("index:write")], responses=refusals(*NAMED, 423, 507))
    async def indexes_delete(name: Name, request: Request) -> Deleted:
        """Delete `name` with all its versions and documents. Requests that found it search it to the end; then its disk
        is free. While it is being built, the build has to be cancelled first."""
        _check_whole(request)
        gone = await remove_index(check_name(name, "index"), parts, author(request))
        return Deleted(name=name, versions=[str(version) for version in gone])

    @routes.post("/{name}/search", dependencies=[needs("query")], responses=refusals(*NAMED, 413, 422))
    async def indexes_search(name: Name, body: SearchRequest, request: Request) -> SearchAnswer:
        """The passages that fit a query best, with the score of each leg; a key with a tenant finds its own and shared
        ones."""
        version = parts.indexes.resolve(Ref.parse(name, "index"), param="name")
        asked = Retrieving.model_validate(body.model_dump(include=set(Retrieving.model_fields) - {"top_k"}))
        check_length(len(body.query), "query", parts)
        search = Search.under(parts.settings, body.query, asked, tenant=tenant(request) or None)
        search = search.model_copy(update={"top_k": body.top_k})
        with parts.pins.hold([pin(version)]):
            try:
                found = await asyncio.to_thread(parts.retriever.search, version, search)
            except (OSError, RuntimeError, ValueError, IndexError) as error:
                raise Unavailable(f"index {version} cannot be read; rebuild it") from error
        return SearchAnswer(version=str(version), method=search.method, passages=list(found))

    @routes.post(
        "/{name}/builds", dependencies=[needs("index:write")], responses=refusals(*NAMED, 413, 422, 423, 507) | _BEGUN
    )
    async def indexes_build(
        name: Name,
        body: BuildRequest,
        request: Request,
        response: Response,
        wait: Annotated[bool, Query(description="answer when the job is done")] = False,
    ) -> Job:
        """Build the next version, as a job in a process of its own; it is published when it is whole and checked.

        A second build of the same index is refused while one runs.
        """
        check_name(name, "index")
        if tenant(request) and (body.path is not None or "max_tokens" in body.model_fields_set):
            raise Forbidden("a tenant's key builds from the documents there are, without path or max_tokens")
        path = None
        if body.path is not None:
            path = str(inside(body.path, parts.settings.document_roots, "RAGTUNE_DOCUMENT_ROOTS"))
        spec = BuildSpec(index=name, path=path, max_tokens=body.max_tokens, hide=body.delete)
        job = await parts.rebuilding.start(spec, author(request), tenant(request))
        if wait:
            return await parts.rebuilding.done(job)
        response.status_code = _ACCEPTED
        return job

    @routes.post("/{name}/rollback", dependencies=[needs("index:write")], responses=refusals(*NAMED, 413, 422, 507))
    async def indexes_rollback(name: Name, request: Request, body: Rollback = THE_NAME) -> Described[IndexManifest]:
        """Let `name` mean again what it meant before; answers with that. What was deleted since stays deleted."""
        _check_whole(request)
        check_name(name, "index")
        alias = ITSELF if body.alias is None else body.alias
        return Described.of(await asyncio.to_thread(parts.indexes.versions.rollback, name, alias))

    return routes


def _shown(version: Version[IndexManifest], request: Request) -> Described[IndexManifest]:
    """To a key with a tenant without the problems, whose names are those of everybody's files."""
    shown = Described.of(version)
    if not tenant(request):
        return shown
    return shown.model_copy(update={"manifest": shown.manifest.model_copy(update={"problems": ()})})


def _check_whole(request: Request) -> None:
    """Raises Forbidden for a key with a tenant: an index is everybody's, only its own documents are the tenant's."""
    if own := tenant(request):
        raise Forbidden(f"this changes an index for all tenants, and this key is only of {own!r}")
