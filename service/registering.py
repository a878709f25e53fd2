"""From a folder to an adapter that is served: one function for every route that registers."""

import asyncio
from pathlib import Path

from adapters.manifest import AdapterManifest
from ragtune.versions import Version
from service.catalog import reference
from service.parts import Parts
from service.pins import pin

_KEPT = 2  # versions of an adapter that stay in memory; an older one is loaded again by the request that names it
_unloading: set[asyncio.Task[int]] = set()


async def register(parts: Parts, name: str, folder: Path) -> Version[AdapterManifest]:
    """Publish the PEFT adapter in `folder` as the next version of `name`, and load it.

    Raises what `Adapters.add` raises, and RefusedArtifact if the engine cannot load it.
    """
    version = await asyncio.to_thread(parts.adapters.add, name, folder)
    with parts.pins.hold([pin(version)]):  # whoever deletes it meanwhile waits, and frees what is loaded here
        await parts.engine.load(reference(version))
    for old in parts.adapters.versions.of(name)[:-_KEPT]:
        if old.current or old.aliases:
            continue
        task = asyncio.create_task(parts.engine.unload(reference(old).key))  # waits for whoever uses it, we do not
        _unloading.add(task)
        task.add_done_callback(_unloading.discard)
    return version
