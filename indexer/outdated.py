"""Which versions of an index nobody can want any more: all but the newest few, and those that something means."""

from indexer.contents import read_documents
from indexer.store import Indexes, IndexManifest
from indexer.stored_documents import is_upload
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.versions import Version


def outdated(indexes: Indexes, aliases: ModeAliases, name: str, settings: Settings) -> list[Version[IndexManifest]]:
    """The versions of `name` to be collected: neither current, nor meant by an alias of the index or of a mode or as
    the default index, nor one of the newest others that the settings keep."""
    if name not in indexes.versions.names():
        return []
    former = [version for version in indexes.versions.of(name) if not version.current]
    return [
        version
        for version in former[: max(0, len(former) - settings.index_versions)]
        if not version.aliases
        and not aliases.pins_index(name, version.number)
        and settings.default_index != str(version)
    ]


def is_behind(indexes: Indexes, name: str) -> bool:
    """Whether documents were uploaded to `name` after its newest version was built, and no build has taken them in."""
    if name not in indexes.versions.names():
        return True
    newest = indexes.versions.of(name)[-1]
    try:
        built = max((document.revision for document in read_documents(newest.folder)), default=0)
    except OSError:  # built before documents were recorded
        return True
    documents = indexes.documents.snapshot(name).documents
    return any(is_upload(document.source) and document.revision > built for document in documents)
