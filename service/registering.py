"""From a folder to an adapter that is served: one function for every route that registers."""

import asyncio
from pathlib import Path

from adapters.manifest import AdapterManifest
from ragtune.versions import Version
from service.catalog import reference, staged_reference
from service.parts import Parts
from service.pinning import follow


async def register(parts: Parts, name: str, folder: Path, author: str = "") -> Version[AdapterManifest]:
    """Check and probe the adapter in `folder`, load it, and only then publish it as the next version of `name`.

    Raises Forbidden outside the allowed roots, RefusedArtifact with the reason for anything that cannot be served;
    on any error nothing is published and nothing stays behind.
    """
    await asyncio.to_thread(parts.adapters.versions.check_free, name)
    source = await asyncio.to_thread(parts.adapters.source, folder)
    with parts.adapters.versions.staging() as staged:
        manifest = await parts.preparer.prepare(source, staged)
        ref = staged_reference(name, staged, manifest)
        try:
            await parts.engine.load(ref)
            version = await asyncio.to_thread(parts.adapters.publish, name, staged, manifest, author)
        except BaseException:
            if not any(reference(v).key == ref.key for v in parts.adapters.current()):
                await parts.engine.unload(ref.key)
            raise
    await follow(name, parts)
    return version
