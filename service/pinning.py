"""Adapters that stay in memory: a pinned name's current version, whichever that is."""

import asyncio

from ragtune.errors import RagtuneError
from ragtune.mode import Ref
from ragtune.terminal import say
from service.catalog import reference
from service.parts import Parts


async def pin(name: str, parts: Parts) -> None:
    """Load the current version of `name`, and keep it in memory, also after a restart.

    Raises UnknownName, and RefusedArtifact if there is no room for it beside the other pinned ones.
    """
    await parts.engine.load(reference(parts.adapters.get(Ref(name))), pinned=True)
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

    Where there is no room for it, the name is unpinned, and the log says so.
    """
    if name not in parts.adapters.pinned.names():
        return
    try:
        await pin(name, parts)
    except RagtuneError as error:
        say(f"adapter {name} is no longer pinned: {error.message}")
        await unpin(name, parts)


async def pin_all(parts: Parts) -> None:
    """At start."""
    for name in parts.adapters.pinned.names():
        if name in parts.adapters.names():
            await follow(name, parts)


def _let_go_of_others(name: str, parts: Parts) -> None:
    for version in parts.adapters.versions.of(name):
        if not version.current:
            parts.engine.unpin(reference(version).key)
