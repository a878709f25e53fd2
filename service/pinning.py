"""Adapters that stay in memory: a pinned name's current version, whichever that is."""

import asyncio
import logging

from ragtune.errors import RagtuneError, RefusedArtifact, Unavailable, UnknownName
from service.catalog import reference
from service.engine.messages import AdapterRef
from service.parts import Parts

log = logging.getLogger("ragtune.adapters")


async def pin(name: str, parts: Parts) -> None:
    """Load the current version of `name`, and keep it in memory, also after a restart.

    Raises UnknownName, IncompatibleParts if it is for another base model, and RefusedArtifact if there is no room for
    it beside the other pinned ones.
    """
    parts.adapters.versions.of(name)
    await parts.engine.load(_meant(name, parts), pinned=True)
    await asyncio.to_thread(parts.adapters.pinned.add, name)
    _let_go_of_others(name, parts)


async def unpin(name: str, parts: Parts) -> None:
    """Let `name` leave memory when it is not used. Raises UnknownName."""
    versions = parts.adapters.versions.of(name)
    await asyncio.to_thread(parts.adapters.pinned.remove, name)
    for version in versions:
        parts.engine.unpin(reference(version).key)


async def follow(name: str, parts: Parts) -> None:
    """After `name` has come to mean another version: if it is pinned, pin that one instead.

    Where there is no room for it, the name is unpinned, and the log says so; what has been published stays so.
    """
    if name not in parts.adapters.pinned.names():
        return
    try:
        await pin(name, parts)
    except RefusedArtifact as error:
        log.warning("adapter %s is no longer pinned: %s", name, error.message)
        await unpin(name, parts)
    except UnknownName:
        await asyncio.to_thread(parts.adapters.pinned.remove, name)  # deleted meanwhile
    except Unavailable as error:
        log.warning("adapter %s is pinned at the next start: %s", name, error.message)


async def pin_all(parts: Parts) -> None:
    """At start. A name that cannot be loaded stays pinned, and the log says why it is not in memory."""
    for name in parts.adapters.pinned.names():
        try:
            await pin(name, parts)
        except RagtuneError as error:
            log.warning("pinned adapter %s is not in memory: %s", name, error.message)


def _meant(name: str, parts: Parts) -> AdapterRef:
    configuration = parts.catalog.resolve(name)
    ref = configuration.weights or configuration.prefix
    assert ref is not None  # a name of an adapter is nothing else
    return ref


def _let_go_of_others(name: str, parts: Parts) -> None:
    for version in parts.adapters.versions.of(name):
        if not version.current:
            parts.engine.unpin(reference(version).key)
