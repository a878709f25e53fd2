"""Adapters, indexes and templates: list, show, publish, delete."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.manifest import AdapterManifest
from indexer.store import IndexManifest
from ragtune import errors
from ragtune.errors import AlreadyRunning, Forbidden, InvalidRequest, RagtuneError
from ragtune.mode import Ref, check_name
from ragtune.templates import TemplateManifest
from ragtune.versions import Version
from ragtune.wire import Passage
from service.catalog import reference
from service.documented import NAMED, POSTED, refusals
from service.parts import Parts

M = TypeVar("M", bound=BaseModel)
Name = Annotated[
    str, PathParameter(description="a name, where versions can be read also NAME@VERSION", examples=["support"])
]
_NICE = 10
_KEPT = 2  # versions of an adapter that stay in memory; an older one is loaded again by the request that names it


class Described(BaseModel, Generic[M]):
    """A version as shown over HTTP."""

    name: str
    version: str
    current: bool
    created: str
    manifest: M

    @classmethod
    def of(cls, version: Version[M]) -> "Described[M]":
        """From a version of the store."""
        return cls(
            name=version.name,
            version=str(version),
            current=version.current,
            created=version.created,
            manifest=version.manifest,
        )


class Deleted(BaseModel):
    """What a delete removed."""

    name: str
    versions: list[str]


_TEMPLATE = 'system = "Answer in a few words."\n'


class FromPath(BaseModel):
    """A folder on the server's machine, inside an allowed root."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "/data/support"}]})

    path: Path


class FromToml(BaseModel):
    """A template's TOML text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"toml": _TEMPLATE}]})

    toml: str


_TOML_OR_JSON = {
    "required": True,
    "content": {
        "application/toml": {"schema": {"type": "string"}, "example": _TEMPLATE},
        "application/json": {"schema": FromToml.model_json_schema()},
    },
}


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


def adapters(parts: Parts) -> APIRouter:
    """/v1/adapters."""
    routes = APIRouter(prefix="/v1/adapters", tags=["adapters"])
    unloading: set[asyncio.Task[int]] = set()

    @routes.get("")
    async def adapters_list() -> list[Described[AdapterManifest]]:
        """The current version of every adapter."""
        return [Described.of(version) for version in parts.adapters.current()]

    @routes.put("/{name}", responses=refusals(*NAMED, 413, 422, 507))
    async def adapters_put(name: Name, body: FromPath) -> Described[AdapterManifest]:
        """Register a PEFT folder as the next version of `name`, and load it; requests in flight keep theirs.

        All but the newest two versions leave the engine's memory once nobody uses them.
        """
        version = await asyncio.to_thread(parts.adapters.add, name, body.path)
        await parts.engine.load(reference(version))
        for old in parts.adapters.versions.of(name)[:-_KEPT]:
            task = asyncio.create_task(parts.engine.unload(reference(old).key))  # waits for whoever uses it, we do not
            unloading.add(task)
            task.add_done_callback(unloading.discard)
        return Described.of(version)

    @routes.get("/{name}", responses=refusals(*NAMED))
    async def adapters_get(name: Name) -> Described[AdapterManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.adapters.get(Ref.parse(name, "adapter")))

    @routes.delete("/{name}", responses=refusals(*NAMED))
    async def adapters_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions. Requests in flight finish; then its memory is free."""
        gone = await asyncio.to_thread(parts.adapters.remove, name)
        for version in gone:
            await parts.engine.unload(reference(version).key)
        return Deleted(name=name, versions=[str(version) for version in gone])

    return routes


def templates(parts: Parts) -> APIRouter:
    """/v1/templates."""
    routes = APIRouter(prefix="/v1/templates", tags=["templates"])

    @routes.get("")
    async def templates_list() -> list[Described[TemplateManifest]]:
        """The current version of every template."""
        return [Described.of(version) for version in parts.templates.versions.current()]

    @routes.put("/{name}", openapi_extra={"requestBody": _TOML_OR_JSON}, responses=refusals(*POSTED, 422, 507))
    async def templates_put(name: Name, request: Request) -> Described[TemplateManifest]:
        """Publish a template as the next version of `name`: its TOML as it is, or as `toml` in a JSON object."""
        return Described.of(await asyncio.to_thread(parts.templates.add, name, await _toml(request)))

    @routes.get("/{name}", responses=refusals(*NAMED))
    async def templates_get(name: Name) -> Described[TemplateManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.templates.get(Ref.parse(name, "template")))

    return routes


def indexes(parts: Parts) -> APIRouter:
    """/v1/indexes."""
    routes = APIRouter(prefix="/v1/indexes", tags=["indexes"])
    building: set[str] = set()

    @routes.get("")
    async def indexes_list() -> list[Described[IndexManifest]]:
        """The current version of every index."""
        return [Described.of(version) for version in parts.indexes.versions.current()]

    @routes.get("/{name}", responses=refusals(*NAMED))
    async def indexes_get(name: Name) -> Described[IndexManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.indexes.resolve(Ref.parse(name, "index")))

    @routes.delete("/{name}", responses=refusals(*NAMED))
    async def indexes_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions."""
        gone = await asyncio.to_thread(parts.indexes.versions.delete, name)
        return Deleted(name=name, versions=[str(version) for version in gone])

    @routes.post("/{name}/search", responses=refusals(*NAMED, 413, 422))
    async def indexes_search(name: Name, body: SearchRequest) -> list[Passage]:
        """The passages nearest to a query."""
        version = parts.indexes.resolve(Ref.parse(name, "index"))
        return await asyncio.to_thread(parts.retriever.search, version, body.query, body.top_k)

    @routes.post("/{name}/builds", responses=refusals(*NAMED, 413, 422, 423, 507))
    async def indexes_build(name: Name, body: FromPath) -> Published:
        """Build the next version from a folder, in a process of its own, and publish it. Answers when it is live."""
        check_name(name, "index")
        docs = _inside(body.path, parts.settings.document_roots, "RAGTUNE_DOCUMENT_ROOTS")
        if name in building:
            raise AlreadyRunning(f"index {name!r} is being built; ask again when it is done")
        building.add(name)
        try:
            return await _build(docs, name, parts)
        finally:
            building.discard(name)

    return routes


async def _toml(request: Request) -> str:
    body = await request.body()
    try:
        if request.headers["content-type"].startswith("application/toml"):
            return body.decode()
        return FromToml.model_validate_json(body).toml
    except UnicodeDecodeError as error:
        raise InvalidRequest("the template is not UTF-8 text") from error
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


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
    known = {e.code: e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, RagtuneError)}
    return known.get(told["code"], RagtuneError)(told["message"])


def _inside(path: Path, roots: tuple[Path, ...], setting: str) -> Path:
    """`path`, if it lies inside one of `roots` once all links are followed."""
    if not path.is_absolute():
        raise InvalidRequest("the path must be absolute", param="path")
    try:
        real = path.resolve()
    except (ValueError, OSError) as error:  # a null character, a name too long
        raise InvalidRequest("this cannot be a path", param="path") from error
    if not any(real.is_relative_to(root.expanduser().resolve()) for root in roots):
        raise Forbidden(f"this path is not inside an allowed root; add its root to {setting}", param="path")
    return real
