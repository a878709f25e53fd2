"""Deleting documents of an index: gone from the very next search, in every version of it."""

from collections.abc import Iterator
from contextlib import suppress

from indexer.contents import read_documents
from indexer.partial import discard_partial
from indexer.record import IndexedDocument
from indexer.store import Indexes, IndexManifest, resource
from indexer.stored_documents import is_upload
from ragtune.jobs import Jobs
from ragtune.mode import Ref
from ragtune.versions import Version


def delete_document(indexes: Indexes, index: str, tenant: str, id: str) -> None:  # noqa: A002
    """Delete what `tenant` has under `id` in `index`, in the documents to be built from and in every version.

    A document that only a former version has can be deleted, too. Raises UnknownName if nothing has it; what a build
    that has begun may still bring is hidden all the same.
    """
    hidden = indexes.documents.hidden(index).revisions.get((tenant, id), -1)
    if indexes.documents.delete(index, tenant, id):
        return
    if not any(d.id == id and d.revision > hidden for d in _of_versions(indexes, index, tenant)):
        indexes.documents.get(index, tenant, id)


def forget_index(indexes: Indexes, jobs: Jobs, index: str, author: str) -> list[Version[IndexManifest]]:
    """Take all documents of an index away, and then its versions: nobody finds them any more, and each is to be
    discarded. A job, so that no build of it runs meanwhile, and brings it back.

    Raises UnknownName if there is nothing of this name, AlreadyRunning while it is being built.
    """
    jobs.check_free(resource(index))
    there = index in indexes.versions.names()
    if not there and index not in indexes.documents.indexes():
        indexes.versions.of(index)
    with jobs.run("index delete", resource(index), {"index": index}, author=author):
        indexes.documents.drop(index)
        discard_partial(indexes.folder, index)
        return indexes.versions.forget(Ref(index)) if there else []


def hide_gone(indexes: Indexes, index: str, tenant: str) -> int:
    """Hide in every version what is no document of `tenant` any more, but for uploads; returns how many were."""
    hidden = indexes.documents.hidden(index).revisions
    ids = {
        document.id
        for document in _of_versions(indexes, index, tenant)
        if not is_upload(document.source) and document.revision > hidden.get((tenant, document.id), -1)
    }
    return indexes.documents.hide(index, tenant, ids)


def _of_versions(indexes: Indexes, index: str, tenant: str) -> Iterator[IndexedDocument]:
    if index not in indexes.versions.names():
        return
    for version in indexes.versions.of(index):
        with suppress(OSError):  # collected just now, or built before documents were recorded
            yield from (document for document in read_documents(version.folder) if document.tenant == tenant)
