"""One file a format, each with `read(path, name)`: documents, and a Problem for each record of it that is broken.

A file that is broken as a whole raises RefusedArtifact, one that cannot be opened OSError.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path, PurePath
from typing import Protocol, cast

from indexer.documents import Document, Problem

FORMATS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "web",
    ".htm": "web",
    ".pdf": "pdf",
    ".docx": "word",
    ".csv": "table",
    ".jsonl": "records",
}
APART = frozenset({"web", "word", "pdf"})  # their parsers are other people's: read in a process of its own


class Format(Protocol):
    """A module of this package that is named above."""

    def read(self, path: Path, name: str) -> Iterable[Document | Problem]:
        """What the file holds; `name` is its name below the folder. Raises RefusedArtifact, OSError."""


def format_of(path: PurePath) -> str | None:
    """The name of the format that the path's suffix stands for, if it is one of ours."""
    return FORMATS.get(path.suffix.lower())


def load(name: str) -> Format:
    """The format of this name; only now are its parsers imported."""
    return cast(Format, import_module(f"indexer.formats.{name}"))
