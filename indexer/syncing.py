"""A folder and the documents of an index made the same: only files that are new or changed are read.

What a file no longer holds, and what files that are gone had held, leaves the index with the next version. Documents
that were uploaded stay: the folder says nothing about them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.documents import Document, Problem
from indexer.reading import READER, SUFFIXES, Reader, find_files
from indexer.stored_documents import Source, StoredDocuments, is_upload
from ragtune.errors import RefusedArtifact

_TOGETHER = 16 << 20  # characters that are stored in one transaction
_FOLDER = ""  # the source that carries the problems of the folder itself, such as links that lead out
Read = list[tuple[Source, list[Document]]]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Synced:
    """What a sync did: files read, files that were as before, documents added, changed and gone."""

    read: int
    kept: int
    added: int
    changed: int
    gone: int


def sync(
    folder: Path,
    index: str,
    documents: StoredDocuments,
    *,
    tenant: str = "",
    author: str = "",
    advance: Advance = lambda _done, _total: None,
) -> Synced:
    """Let the documents of `tenant` in `index`, but for uploads, be those below `folder` (or of one file).

    What cannot be looked at keeps what it had. `advance` hears of files done and of all. Raises RefusedArtifact if the
    path does not exist or nothing below it can be read; then nothing has changed.
    """
    files, problems = _find(folder)
    before = documents.sources(index, tenant)
    unseen = {name for name in before if any(_is_below(name, problem.source) for problem in problems)} - files.keys()
    live = {*files, *unseen}
    changed = {name: found for name, found in files.items() if before.get(name) != (found[1], READER)}
    counts = {"added": 0, "changed": 0, "unchanged": 0}

    def put(batch: Read) -> bool:
        stored = documents.put(index, tenant, batch, author=author, live=live)
        for change in stored.changes.values():
            counts[change] += 1
        return len(stored.changes) < sum(len(found) for _, found in batch)

    clashed = False
    for number, batch in enumerate(_batches(changed, advance)):
        if not number and len(changed) == len(live) and not any(found for _, found in batch):
            raise RefusedArtifact(_nothing(folder, [*problems, *(p for source, _ in batch for p in source.problems)]))
        clashed |= put(batch)
    documents.put(index, tenant, [(Source(_FOLDER, "", READER, tuple(problems)), [])], author=author)
    gone = documents.keep(index, tenant, {*live, _FOLDER})
    if clashed:  # an id may have moved from a file that was read after the one it moved to
        sources = documents.sources(index, tenant)
        for batch in _batches({name: found for name, found in changed.items() if not sources[name][0]}, advance):
            put(batch)
    return Synced(len(changed), len(files) - len(changed), counts["added"], counts["changed"], gone)


def _is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def leaving(folder: Path, index: str, documents: StoredDocuments, tenant: str = "") -> tuple[int, int]:
    """How many documents of `index` are of files that are not below `folder`, and of how many in all; uploads aside.

    Raises RefusedArtifact if there is nothing at that path.
    """
    names = {found[0] for found in find_files(folder) if not isinstance(found, Problem)}
    sources = [d.source for d in documents.snapshot(index).documents if d.tenant == tenant and not is_upload(d.source)]
    return sum(source not in names for source in sources), len(sources)


def _find(folder: Path) -> tuple[dict[str, tuple[Path, str]], list[Problem]]:
    """The files by name, each with the hash of its content, and what cannot be looked at."""
    files: dict[str, tuple[Path, str]] = {}
    problems: list[Problem] = []
    for found in find_files(folder):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        name, path = found
        if is_upload(name):
            problems.append(Problem(source=name, reason="a name like that of an upload; rename the file"))
            continue
        try:
            with path.open("rb") as file:
                files[name] = path, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            problems.append(Problem(source=name, reason=error.strerror or str(error)))
    if not files:
        raise RefusedArtifact(_nothing(folder, problems))
    return files, problems


def _batches(files: Mapping[str, tuple[Path, str]], advance: Advance) -> Iterator[Read]:
    """What the files hold, some files at a time; the first batch has a document in it, if any file has."""
    if not files:
        return
    batch: Read = []
    with Reader() as reader:
        for done, (name, (path, sha256)) in enumerate(files.items(), start=1):
            items = reader.read(path, name)
            problems = tuple(item for item in items if isinstance(item, Problem))
            batch.append((Source(name, sha256, READER, problems), [i for i in items if isinstance(i, Document)]))
            advance(done, len(files))
            if sum(len(document.text) for _, found in batch for document in found) >= _TOGETHER:
                yield batch
                batch = []
    if batch:
        yield batch


def _nothing(folder: Path, problems: list[Problem]) -> str:
    first = f"; first problem: {problems[0].source}: {problems[0].reason}" if problems else ""
    return f"no document in {folder}: it needs {', '.join(SUFFIXES)} files with text in them{first}"
