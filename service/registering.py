"""From a folder to an adapter that is served: one function for every route that registers."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from adapters.manifest import AdapterManifest
from ragtune.versions import Version
from service.catalog import reference, staged_reference
from service.parts import Parts
from service.pinning import follow

T = TypeVar("T")


async def register(parts: Parts, name: str, folder: Path, author: str = "") -> Version[AdapterManifest]:
    """Check and probe the adapter in `folder`, load it, and only then publish it as the next version of `name`.

    Raises Forbidden outside the allowed roots, RefusedArtifact with the reason for anything that cannot be served;
    on any error nothing is published and nothing stays behind.
    """
    await asyncio.to_thread(parts.adapters.versions.check_free, name)
    source = await asyncio.to_thread(parts.adapters.source, folder)
    with parts.adapters.versions.staging() as staged:
        manifest = await parts.preparer.prepare(source, staged)
        version = await _load_and_publish(parts, name, staged, manifest, author)
    await follow(name, parts)
    return version


async def _load_and_publish(
    parts: Parts, name: str, staged: Path, manifest: AdapterManifest, author: str
) -> Version[AdapterManifest]:
    ref = staged_reference(name, staged, manifest)
    try:
        await parts.engine.load(ref)
        return await _whole(asyncio.to_thread(parts.adapters.publish, name, staged, manifest, author))
    except BaseException:
        versions = parts.adapters.versions.of(name) if name in parts.adapters.names() else []
        if not any(reference(version).key == ref.key for version in versions):
            await parts.engine.unload(ref.key)
        raise


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is waited for also by one who is cancelled.

    The thread that renames a folder goes on in any case, and must not meet its removal.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
