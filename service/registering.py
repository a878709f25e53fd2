"""From a folder to an adapter that is served: one function for every route that registers."""

import asyncio
from pathlib import Path

from adapters.manifest import AdapterManifest
from ragtune.versions import Version
from service.catalog import reference
from service.parts import Parts

_KEPT = 2  # versions of an adapter that stay in memory; an older one is loaded again by the request that names it
_unloading: set[asyncio.Task[int]] = set()


async def register(parts: Parts, name: str, folder: Path) -> Version[AdapterManifest]:
    """Publish the PEFT adapter in `folder` as the next version of `name`, and load it.

    Raises what `Adapters.add` raises, and RefusedArtifact if the engine cannot load it.
    """
    version = await asyncio.to_thread(parts.adapters.add, name, folder)
    await parts.engine.load(reference(version))
    for old in parts.adapters.versions.of(name)[:-_KEPT]:
        task = asyncio.create_task(parts.engine.unload(reference(old).key))  # waits for whoever uses it, we do not
        _unloading.add(task)
        task.add_done_callback(_unloading.discard)
    return version


async def unregister(parts: Parts, name: str) -> list[Version[AdapterManifest]]:
    """Delete `name` with all its versions, and free their memory once nobody uses them. Raises UnknownName."""
    gone = await asyncio.to_thread(parts.adapters.remove, name)
    for version in gone:
        await parts.engine.unload(reference(version).key)
    return gone
