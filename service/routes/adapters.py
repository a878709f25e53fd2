"""/v1/adapters: list, show, publish, delete; aliases and rollback."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from adapters.manifest import AdapterManifest
from ragtune.mode import Ref, check_alias, check_name
from ragtune.pointers import ITSELF
from ragtune.versions import Version
from ragtune.wire import Count
from service.access import author, needs
from service.bodies import ARCHIVES, JSON
from service.documented import NAMED, refusals
from service.intake import FromHub, received
from service.parts import Parts
from service.pinning import follow, pin, unpin
from service.registering import register
from service.removing import remove_adapter
from service.routes.described import Deleted, Described, FromPath, GoesBack, Name

PlainName = Annotated[str, PathParameter(description="a name, without a version", examples=["support-lora"])]
AliasName = Annotated[str, PathParameter(description="what stands after the '@'", examples=["prod"])]


class Alias(BaseModel):
    """An alias of an adapter, and what it means."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "support-lora", "alias": "prod", "version": "support-lora@2"}]}
    )

    name: str
    alias: str
    version: str

    @classmethod
    def of(cls, alias: str, version: Version[AdapterManifest]) -> "Alias":
        """From the version it means."""
        return cls(name=version.name, alias=alias, version=str(version))


class Pin(BaseModel):
    """Whether an adapter stays in memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "support-lora", "pinned": True}]})

    name: str
    pinned: bool


class ToVersion(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2}]})

    version: Count = Field(ge=1, description="the number of a version")


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

    @routes.get("", dependencies=[needs("query")])
    async def adapters_list() -> list[Described[AdapterManifest]]:
        """The current version of every adapter."""
        return [Described.of(version) for version in parts.adapters.current()]

    @routes.put(
        "/{name}",
        dependencies=[needs("adapters:write")],
        openapi_extra={"requestBody": _SOURCES},
        responses=refusals(*NAMED, 413, 422, 507),
    )
    async def adapters_put(name: Name, request: Request) -> Registered:
        """Register an adapter or a fine-tuned checkpoint as the next version of `name`; requests in flight keep theirs.

        It comes from a folder inside the allowed roots, as an archive in the body, or from the hub if the server
        allows that. It is published once it was checked, probed and loaded; bytes that a version of `name` has
        already are no new version, that one becomes current.
        """
        check_name(name, "adapter")
        async with received(request, parts) as source:
            version = await register(parts, name, source.folder, author(request))
            return Registered(**dict(Described.of(version)), ignored=source.ignored[:_MOST_SHOWN])

    @routes.get("/{name}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def adapters_get(name: Name) -> Described[AdapterManifest]:
        """The version that `name`, `name@2` or `name@prod` means."""
        return Described.of(parts.adapters.get(Ref.parse(name, "adapter"), param="name"))

    @routes.delete("/{name}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 422, 507))
    async def adapters_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions and aliases, or one version, `name@2`, that nothing points to.

        Nobody new finds it; requests that have it finish. Answers when its memory and disk are free.
        """
        ref = Ref.parse(name, "adapter")
        gone = await remove_adapter(ref, parts)
        return Deleted(name=ref.name, versions=[str(version) for version in gone])

    @routes.get("/{name}/versions", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def adapters_versions(name: PlainName) -> list[Described[AdapterManifest]]:
        """All versions of `name`, oldest first."""
        return [
            Described.of(version) for version in parts.adapters.versions.of(check_name(name, "adapter"), param="name")
        ]

    @routes.get("/{name}/aliases", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def aliases_list(name: PlainName) -> list[Alias]:
        """All aliases of `name`, and what they mean."""
        found = parts.adapters.versions.aliases(check_name(name, "adapter"))
        return [Alias.of(alias, version) for alias, version in found.items()]

    @routes.get("/{name}/aliases/{alias}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def aliases_get(name: PlainName, alias: AliasName) -> Alias:
        """What `name@alias` means."""
        ref = Ref(check_name(name, "adapter"), check_alias(alias))
        return Alias.of(alias, parts.adapters.versions.resolve(ref, param="alias"))

    @routes.put("/{name}/aliases/{alias}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 413, 507))
    async def aliases_put(name: PlainName, alias: AliasName, body: ToVersion, request: Request) -> Alias:
        """Let `name@alias` mean a version from the next request on; requests in flight keep what they have."""
        check_name(name, "adapter")
        flip = partial(parts.adapters.versions.set_alias, name, alias, body.version, author=author(request))
        return Alias.of(alias, await asyncio.to_thread(flip))

    @routes.delete("/{name}/aliases/{alias}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 507))
    async def aliases_delete(name: PlainName, alias: AliasName) -> Alias:
        """Take an alias away; answers with what it meant."""
        check_name(name, "adapter")
        return Alias.of(alias, await asyncio.to_thread(parts.adapters.versions.remove_alias, name, alias))

    @routes.post("/{name}/rollback", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 413, 422, 507))
    async def adapters_rollback(name: PlainName, body: GoesBack) -> Described[AdapterManifest]:
        """Let `name`, or an alias of it, mean again what it meant before; answers with that. Again goes further.

        Without a body it is the name.
        """
        check_name(name, "adapter")
        alias = ITSELF if body.alias is None else check_alias(body.alias)
        meant = await asyncio.to_thread(parts.adapters.versions.rollback, name, alias)
        await follow(name, parts)
        return Described.of(meant)

    @routes.put("/{name}/pin", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 422, 507))
    async def adapters_pin(name: PlainName) -> Pin:
        """Keep the current version of `name` in memory, also after a restart; 422 if there is no room for it."""
        await pin(check_name(name, "adapter"), parts)
        return Pin(name=name, pinned=True)

    @routes.delete("/{name}/pin", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 507))
    async def adapters_unpin(name: PlainName) -> Pin:
        """Let `name` leave memory again when it is not used."""
        await unpin(check_name(name, "adapter"), parts)
        return Pin(name=name, pinned=False)

    return routes
