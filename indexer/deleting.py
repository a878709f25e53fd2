"""Deleting one document of an index: gone from the very next search, in every version of it."""

from indexer.contents import read_documents
from indexer.store import Indexes
from indexer.visibility import DOCUMENTS
from ragtune.errors import UnknownName


def delete_document(indexes: Indexes, index: str, tenant: str, id: str) -> None:  # noqa: A002
    """Delete what `tenant` has under `id` in `index`, in the documents to be built from and in every version.

    A document that only a former version has can be deleted, too. Raises UnknownName.
    """
    try:
        indexes.documents.get(index, tenant, id)
    except UnknownName:
        if not _in_a_version(indexes, index, tenant, id):
            raise
    indexes.documents.delete(index, tenant, id)


def _in_a_version(indexes: Indexes, index: str, tenant: str, id: str) -> bool:  # noqa: A002
    if index not in indexes.versions.names():
        return False
    hidden = indexes.documents.hidden(index).revisions
    return any(
        (document.tenant, document.id) == (tenant, id) and document.revision > hidden.get((tenant, id), -1)
        for version in indexes.versions.of(index)
        if (version.folder / DOCUMENTS).exists()
        for document in read_documents(version.folder)
    )
