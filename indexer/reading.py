"""Reading: files in, Documents out. A broken file, or a broken record of one, is a Problem and never stops the rest."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType

from indexer.apart import ReadingProcess
from indexer.documents import Document, Problem
from indexer.folder import SUFFIXES, find_files
from indexer.formats import APART, format_of, load
from indexer.formats.limits import checked
from ragtune.errors import RefusedArtifact

READER = 2  # raise it when what reading makes of the same files changes
_SECONDS = 30.0  # for a file whose parser is not ours
_MEMORY = 2 << 30  # bytes, the interpreter and its libraries included
_MOST_PROBLEMS = 50  # told of a file; the rest are counted

__all__ = ["READER", "SUFFIXES", "Reader", "find_files", "read_documents"]


class Reader:
    """Reads one file after the other; `with` ends the process that it may have started. Not for several threads.

    `seconds` and `memory` limit what a file may take whose parser is not ours: HTML, PDF, DOCX.
    """

    def __init__(self, seconds: float = _SECONDS, memory: int = _MEMORY) -> None:
        self._apart = ReadingProcess(seconds, memory)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._apart.close()

    def read(self, path: Path, name: str) -> list[Document | Problem]:
        """What the file at `path` holds. `name`, its path below what is ingested, is the id unless records have ids.

        Nothing about the file raises: it becomes Problems.
        """
        try:
            _check_name(name)
            return _told([_checked(item) for item in self._read(path, name)], name)
        except RefusedArtifact as error:
            return [Problem(source=name, reason=error.message)]
        except OSError as error:
            return [Problem(source=name, reason=error.strerror or str(error))]

    def _read(self, path: Path, name: str) -> Iterable[Document | Problem]:
        file_format = format_of(PurePosixPath(name))
        if file_format is None:
            raise RefusedArtifact(f"not a format that is read: {', '.join(SUFFIXES)}")
        if path.exists() and not path.is_file():
            raise RefusedArtifact("not an ordinary file")
        if file_format in APART:
            return self._apart.read(file_format, path, name)
        return load(file_format).read(path, name)


def read_documents(folder: Path) -> tuple[list[Document], list[Problem]]:
    """All documents below `folder` (or of one file), in order of name, and what could not be read.

    Of documents with the same id the first is kept. Raises RefusedArtifact if the path does not exist, or nothing below
    it can be read, InvalidRequest for one that cannot be looked at.
    """
    documents: dict[str, Document] = {}
    problems: list[Problem] = []
    with Reader() as reader:
        for found in find_files(folder):
            for item in [found] if isinstance(found, Problem) else reader.read(found[1], found[0]):
                if isinstance(item, Problem):
                    problems.append(item)
                elif item.id in documents:
                    problems.append(Problem(source=item.id, reason="a second document with this id; the first is kept"))
                else:
                    documents[item.id] = item
    if not documents:
        first = f"; first problem: {problems[0].source}: {problems[0].reason}" if problems else ""
        raise RefusedArtifact(f"no document in {folder}: it needs {', '.join(SUFFIXES)} files with text in them{first}")
    return list(documents.values()), problems


def _check_name(name: str) -> None:
    if not name.isprintable():
        raise RefusedArtifact("the file's name is not readable text")
    if not name or name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise RefusedArtifact("the name is no path inside a folder")


def _checked(item: Document | Problem) -> Document | Problem:
    return item if isinstance(item, Problem) else checked(item)


def _told(items: list[Document | Problem], name: str) -> list[Document | Problem]:
    """`items` with at most so many problems, and one more that counts the others."""
    problems = [item for item in items if isinstance(item, Problem)]
    unlisted = len(problems) - _MOST_PROBLEMS
    if unlisted <= 0:
        return items
    rest = Problem(source=name, reason=f"problems of the same file that are not listed: {unlisted}")
    return [*(item for item in items if isinstance(item, Document)), *problems[:_MOST_PROBLEMS], rest]
