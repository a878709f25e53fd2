"""Where an adapter comes from over HTTP: a folder of this machine, an archive in the body, or the hub.

Archives and downloads arrive in a staging folder of the store, on the disk they are to live on: a full disk shows
before anything is published, and what a crash leaves there is collected at the next start.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from adapters.archive import unpack
from adapters.hub import REPOSITORY, REVISION, fetch
from adapters.member import Limits
from ragtune.errors import Forbidden, InvalidRequest, RagtuneError, RefusedArtifact
from service.aside import Aside
from service.bodies import is_upload
from service.disconnect import ClientGone
from service.parts import Parts
from service.routes.described import FromPath

_WRITTEN_AT_ONCE = 1 << 20  # bytes
_WORKERS = Aside(2, "intake")  # of their own: searches must not wait for a download


class FromHub(BaseModel):
    """An adapter on the hub; taken only where RAGTUNE_HUB_ADAPTERS is true."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"hub": "someone/support-lora", "revision": "main"}]}
    )

    hub: str = Field(pattern=f"^{REPOSITORY}$", max_length=200, description="USER/REPOSITORY")
    revision: str | None = Field(
        default=None, pattern=f"^{REVISION}$", max_length=200, description="branch, tag or commit; absent: main"
    )


@dataclass(frozen=True)
class Source:
    """A folder with an adapter, and what else came with it and was left out."""

    folder: Path
    ignored: list[str]


@asynccontextmanager
async def received(request: Request, parts: Parts) -> AsyncIterator[Source]:
    """The adapter that a request brings or names; what was received is removed at the end.

    Raises InvalidRequest for a body that is neither, Forbidden for a path outside the allowed roots and for the hub
    where it is not enabled, RefusedArtifact and TooLarge for what cannot be taken, Unavailable for a hub that cannot be
    asked, StorageFull, and ClientGone if the client leaves before all of it is here.
    """
    source = None if is_upload(request.scope) else _named(await request.body())
    if isinstance(source, FromPath):
        yield Source(parts.adapters.allowed(source.path), [])
        return
    with parts.adapters.versions.staging() as staged:
        if source is None:
            yield await _uploaded(request, staged, parts.settings.max_upload)
        else:
            yield await downloaded(source.hub, source.revision, staged, parts)


async def downloaded(
    repository: str,
    revision: str | None,
    staged: Path,
    parts: Parts,
    param: str = "hub",
    missing: type[RagtuneError] = RefusedArtifact,
) -> Source:
    """An adapter of the hub, in `staged`. Raises Forbidden where that is not enabled, and what `fetch` raises."""
    if not parts.settings.hub_adapters:
        raise Forbidden(
            "adapters are not downloaded from the hub here; set RAGTUNE_HUB_ADAPTERS=true to allow it", param=param
        )
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(_WORKERS, fetch, repository, revision, staged, parts.settings.max_upload, missing)
    return Source(staged, [])


async def _uploaded(request: Request, staged: Path, most: int) -> Source:
    archive, folder = staged / "archive", staged / "adapter"
    folder.mkdir()
    await write_body(request, archive)
    ignored = await asyncio.get_running_loop().run_in_executor(_WORKERS, unpack, archive, folder, Limits(most))
    archive.unlink()
    return Source(folder, ignored)


async def write_body(request: Request, path: Path) -> None:
    """The body into a file, in pieces: never all of it in memory, never a disk that everybody waits for.

    Raises ClientGone if the client leaves before all of it is here.
    """
    pending = bytearray()
    with path.open("wb") as file:
        try:
            async for chunk in request.stream():
                pending += chunk
                if len(pending) >= _WRITTEN_AT_ONCE:
                    await asyncio.to_thread(file.write, bytes(pending))
                    pending.clear()
        except ClientDisconnect as error:
            raise ClientGone from error
        await asyncio.to_thread(file.write, bytes(pending))


def _named(body: bytes) -> FromPath | FromHub:
    try:
        fields = from_json(body)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest('the body must be an object: {"path": FOLDER} or {"hub": "USER/REPOSITORY"}')
    kind = FromHub if fields.keys() & FromHub.model_fields.keys() else FromPath
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors(), body=fields) from error
