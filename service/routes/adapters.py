"""/v1/adapters: list, show, publish, delete."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from adapters.manifest import AdapterManifest
from ragtune.mode import Ref, check_name
from service.bodies import ARCHIVES, JSON
from service.documented import NAMED, refusals
from service.intake import FromHub, received
from service.parts import Parts
from service.registering import register, unregister
from service.routes.described import Deleted, Described, FromPath, Name

_MOST_SHOWN = 100  # names of files that were left out
_ARCHIVE = {"schema": {"type": "string", "format": "binary"}, "example": "the bytes of the archive"}
_SOURCES: dict[str, Any] = {
    "required": True,
    "description": "A folder of the server, a repository of the hub, or the adapter itself: a zip, a tar or a tar.gz.",
    "content": {
        JSON: {
            "schema": {
                "anyOf": [FromPath.model_json_schema(), FromHub.model_json_schema()],
                "examples": [{"path": "/data/support"}, {"hub": "someone/support-lora", "revision": "main"}],
            }
        },
        **dict.fromkeys(ARCHIVES, _ARCHIVE),
    },
}


class Registered(Described[AdapterManifest]):
    """What was published."""

    ignored: list[str] = Field(description="files of an uploaded archive that were left out; the first hundred")


def router(parts: Parts) -> APIRouter:
    """/v1/adapters."""
    routes = APIRouter(prefix="/v1/adapters", tags=["adapters"])

    @routes.get("")
    async def adapters_list() -> list[Described[AdapterManifest]]:
        """The current version of every adapter."""
        return [Described.of(version) for version in parts.adapters.current()]

    @routes.put("/{name}", openapi_extra={"requestBody": _SOURCES}, responses=refusals(*NAMED, 413, 422, 507))
    async def adapters_put(name: Name, request: Request) -> Registered:
        """Register a PEFT adapter as the next version of `name`, and load it; requests in flight keep theirs.

        It comes from a folder inside the allowed roots, as an archive in the body, or from the hub if the server
        allows that. All but the newest two versions leave the engine's memory once nobody uses them.
        """
        check_name(name, "adapter")
        async with received(request, parts) as source:
            version = await register(parts, name, source.folder)
            return Registered(**dict(Described.of(version)), ignored=source.ignored[:_MOST_SHOWN])

    @routes.get("/{name}", responses=refusals(*NAMED))
    async def adapters_get(name: Name) -> Described[AdapterManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.adapters.get(Ref.parse(name, "adapter")))

    @routes.delete("/{name}", responses=refusals(*NAMED))
    async def adapters_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions. Requests in flight finish; then its memory is free."""
        gone = await unregister(parts, name)
        return Deleted(name=name, versions=[str(version) for version in gone])

    return routes
