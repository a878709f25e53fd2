"""What must hold of any index version that can be seen, for the tests that kill whoever makes them."""

import hashlib
import json
import re
from collections import defaultdict

from indexer.contents import read_documents, read_records
from indexer.store import IndexManifest
from ragtune.versions import MANIFEST, Version

NOTHING = 0  # the stamp of what is not there


def check_whole(version: Version[IndexManifest]) -> None:
    """What its manifest says is in its folder, and of each document one content."""
    manifest = version.manifest
    assert IndexManifest.model_validate_json((version.folder / MANIFEST).read_text()) == manifest
    documents, records = list(read_documents(version.folder)), list(read_records(version.folder))
    assert (manifest.documents, manifest.passages) == (len(documents), len(records))
    checks = manifest.checks
    assert checks is not None and (checks.dense, checks.recall) == (checks.canaries, 1.0)
    revisions = "".join(f"{document.revision}\n" for document in documents)
    assert hashlib.sha256(revisions.encode()).hexdigest() == manifest.revisions_sha256
    corpus = hashlib.sha256()
    for d in documents:
        corpus.update(json.dumps([d.tenant, d.id, d.title, d.sha256, d.id.endswith(".md"), d.metadata]).encode())
    assert corpus.hexdigest() == manifest.corpus_sha256
    stamps: dict[int, set[int]] = defaultdict(set)
    for record in records:
        stamps[record.revision] |= {stamp_of(record.text)} - {NOTHING}
    assert set(stamps) == {document.revision for document in documents}
    assert all(len(found) <= 1 for found in stamps.values()), "passages of two contents of a document"


def stamp_of(text: str) -> int:
    """The stamp of a content or passage."""
    found = re.search(r"stamp(\d+)", text)
    return int(found[1]) if found else NOTHING
