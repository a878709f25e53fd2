"""/v1/indexes: list, show, search, build, delete."""

import asyncio
import json
import os
import sys
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from indexer.search import Search
from indexer.store import IndexManifest
from ragtune.errors import AlreadyRunning, RagtuneError, by_code
from ragtune.mode import Ref, check_name
from ragtune.roots import inside
from ragtune.wire import Passage
from service.access import needs
from service.documented import NAMED, refusals
from service.parts import Parts
from service.pins import pin
from service.removing import remove_index
from service.routes.described import Deleted, Described, FromPath, Name

_NICE = 10


class SearchRequest(BaseModel):
    """A search in one index."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "How long is the warranty?", "top_k": 3}]}
    )

    query: str = Field(min_length=1)
    top_k: int = Field(default=4, ge=1, le=100)


class Published(BaseModel):
    """What a build published."""

    version: str
    unchanged: bool


def router(parts: Parts) -> APIRouter:
    """/v1/indexes."""
    routes = APIRouter(prefix="/v1/indexes", tags=["indexes"])
    building: set[str] = set()

    @routes.get("", dependencies=[needs("query")])
    async def indexes_list() -> list[Described[IndexManifest]]:
        """The current version of every index."""
        return [Described.of(version) for version in parts.indexes.versions.current()]

    @routes.get("/{name}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def indexes_get(name: Name) -> Described[IndexManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.indexes.resolve(Ref.parse(name, "index"), param="name"))

    @routes.delete("/{name}", dependencies=[needs("index:write")], responses=refusals(*NAMED, 507))
    async def indexes_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions. Requests that found it search it to the end; then its disk is free."""
        gone = await remove_index(name, parts)
        return Deleted(name=name, versions=[str(version) for version in gone])

    @routes.post("/{name}/search", dependencies=[needs("query")], responses=refusals(*NAMED, 413, 422))
    async def indexes_search(name: Name, body: SearchRequest) -> list[Passage]:
        """The passages nearest to a query."""
        version = parts.indexes.resolve(Ref.parse(name, "index"), param="name")
        search = Search.under(parts.settings, body.query, body.top_k)
        with parts.pins.hold([pin(version)]):
            return list(await asyncio.to_thread(parts.retriever.search, version, search))

    @routes.post("/{name}/builds", dependencies=[needs("index:write")], responses=refusals(*NAMED, 413, 422, 423, 507))
    async def indexes_build(name: Name, body: FromPath) -> Published:
        """Build the next version from a folder, in a process of its own, and publish it. Answers when it is live."""
        check_name(name, "index")
        docs = inside(body.path, parts.settings.document_roots, "RAGTUNE_DOCUMENT_ROOTS")
        if name in building:
            raise AlreadyRunning(f"index {name!r} is being built; ask again when it is done")
        building.add(name)
        try:
            return await _build(docs, name, parts)
        finally:
            building.discard(name)

    return routes


async def _build(docs: Path, name: str, parts: Parts) -> Published:
    """Run `python -m indexer.build`, niced and on one thread, so that answers go on meanwhile."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAGTUNE_HOME": str(parts.settings.home)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "indexer.build", str(docs), "--name", name),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise build_failure(err.decode(errors="replace"))
    return Published.model_validate_json(out.decode().strip().splitlines()[-1])


def build_failure(stderr: str) -> RagtuneError:
    """The error the build wrote as its last line, as the same class of the tree."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
    try:
        told = json.loads(last)
    except json.JSONDecodeError:
        return RagtuneError(f"the build failed: {last}")
    return by_code(told["code"], told["message"])
