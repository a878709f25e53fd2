"""/v1/adapters: list, show, publish, delete."""

import asyncio

from fastapi import APIRouter

from adapters.manifest import AdapterManifest
from ragtune.mode import Ref
from service.access import needs
from service.catalog import reference
from service.documented import NAMED, refusals
from service.parts import Parts
from service.registering import register
from service.routes.described import Deleted, Described, FromPath, Name


def router(parts: Parts) -> APIRouter:
    """/v1/adapters."""
    routes = APIRouter(prefix="/v1/adapters", tags=["adapters"])

    @routes.get("", dependencies=[needs("query")])
    async def adapters_list() -> list[Described[AdapterManifest]]:
        """The current version of every adapter."""
        return [Described.of(version) for version in parts.adapters.current()]

    @routes.put("/{name}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 413, 422, 507))
    async def adapters_put(name: Name, body: FromPath) -> Described[AdapterManifest]:
        """Register a PEFT folder as the next version of `name`, and load it; requests in flight keep theirs.

        All but the newest two versions leave the engine's memory once nobody uses them.
        """
        return Described.of(await register(parts, name, body.path))

    @routes.get("/{name}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def adapters_get(name: Name) -> Described[AdapterManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.adapters.get(Ref.parse(name, "adapter")))

    @routes.delete("/{name}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED))
    async def adapters_delete(name: Name) -> Deleted:
        """Delete `name` with all its versions. Requests in flight finish; then its memory is free."""
        gone = await asyncio.to_thread(parts.adapters.remove, name)
        for version in gone:
            await parts.engine.unload(reference(version.name, version.folder, version.manifest).key)
        return Deleted(name=name, versions=[str(version) for version in gone])

    return routes
