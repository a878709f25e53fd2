"""Deleting what may be in use: nobody new finds it, whoever has it finishes, then memory and disk are free.

What is deleted stays deleted: it goes on when the client leaves, and what a crash leaves over is collected at the next
start.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from adapters.manifest import AdapterManifest
from indexer.deleting import forget_index
from indexer.outdated import outdated
from indexer.store import IndexManifest
from ragtune.errors import IncompatibleParts, Unavailable, UnknownName
from ragtune.mode import Ref
from ragtune.versions import Version
from service.catalog import reference
from service.parts import Parts
from service.pins import pin

T = TypeVar("T")
_removing: set[asyncio.Task[Any]] = set()


async def remove_adapter(ref: Ref, parts: Parts) -> list[Version[AdapterManifest]]:
    """Delete an adapter, or one version of it, and return what is gone.

    Raises UnknownName, and IncompatibleParts for a single version that is still meant by its name or an alias.
    """
    return await _to_the_end(_remove_adapter(ref, parts))


async def remove_index(name: str, parts: Parts, author: str) -> list[Version[IndexManifest]]:
    """Delete an index and return its versions. Raises UnknownName, and AlreadyRunning while it is being built."""
    return await _to_the_end(_remove_index(name, parts, author))


async def _remove_adapter(ref: Ref, parts: Parts) -> list[Version[AdapterManifest]]:
    versions = parts.adapters.versions
    if ref.version is not None:
        one = parts.adapters.get(ref)
        parts.catalog.aliases.check_unused(one.name, one.number)
    gone = await asyncio.to_thread(versions.forget, ref)
    await parts.pins.released([pin(version) for version in gone])
    for version in gone:
        with suppress(Unavailable):  # an engine that is gone holds nothing
            await parts.engine.unload(reference(version).key)
        await asyncio.to_thread(versions.discard, version)
    return gone


async def collect_versions(name: str, parts: Parts) -> list[Version[IndexManifest]]:
    """Delete the versions of an index that nobody can want any more, once those who have found them are done."""
    return await _to_the_end(_collect_versions(name, parts))


async def _remove_index(name: str, parts: Parts, author: str) -> list[Version[IndexManifest]]:
    gone = await asyncio.to_thread(forget_index, parts.indexes, parts.jobs, name, author)
    await _discard(gone, parts)
    return gone


async def _collect_versions(name: str, parts: Parts) -> list[Version[IndexManifest]]:
    gone = await asyncio.to_thread(outdated, parts.indexes, parts.catalog.aliases, name, parts.settings)
    forgotten = []
    for version in gone:
        with suppress(UnknownName, IncompatibleParts):  # somebody deleted it, or pointed to it, just now
            forgotten += await asyncio.to_thread(parts.indexes.versions.forget, Ref(name, str(version.number)))
    await _discard(forgotten, parts)
    return forgotten


async def _discard(gone: list[Version[IndexManifest]], parts: Parts) -> None:
    await parts.pins.released([pin(version) for version in gone])
    for version in gone:
        await asyncio.to_thread(parts.retriever.close, version)
        await asyncio.to_thread(parts.indexes.versions.discard, version)


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which goes on where the one who waits for it is cancelled."""
    task = asyncio.create_task(work)
    _removing.add(task)
    task.add_done_callback(_removing.discard)
    return await asyncio.shield(task)
