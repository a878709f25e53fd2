"""Plain text: a file is a document, entitled by its name."""

from pathlib import Path, PurePosixPath

from indexer.documents import Document
from indexer.formats.encoding import read_text


def read(path: Path, name: str) -> list[Document]:
    """The file. Raises RefusedArtifact, OSError."""
    return [Document(name, PurePosixPath(name).stem, read_text(path))]
