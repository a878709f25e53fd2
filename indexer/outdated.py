"""Which versions of an index nobody can want any more: all but the newest few, and those that something means."""

from indexer.store import Indexes, IndexManifest
from ragtune.mode_aliases import ModeAliases
from ragtune.versions import Version


def outdated(indexes: Indexes, aliases: ModeAliases, name: str, kept: int) -> list[Version[IndexManifest]]:
    """The versions of `name` to be collected: neither current, nor meant by an alias of the index or of a mode, nor one
    of the `kept` newest others."""
    if name not in indexes.versions.names():
        return []
    former = [version for version in indexes.versions.of(name) if not version.current]
    return [
        version
        for version in former[: max(0, len(former) - kept)]
        if not version.aliases and not aliases.pins_index(name, version.number)
    ]
