"""Markdown: a file is a document. Front matter becomes title and metadata, everything else stays as it is written."""

import re
from pathlib import Path, PurePosixPath

from indexer.documents import Document, Metadata
from indexer.formats.encoding import read_text
from indexer.formats.limits import fitting

_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"[ \t]*#.*|[ \t]+\S.*|- .*|[A-Za-z_][\w .-]*:(?:[ \t].*)?|[ \t]*")  # of YAML, where it is simple
_PLAIN = re.compile(r"([A-Za-z_][\w.-]*):[ \t]+(?:\"([^\"\\]*)\"|'([^']*)'|([^\s\"'\[{|>&*!%@`#-][^#]*))[ \t]*")
_HEADING = re.compile(r"#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*(?:\n|\Z)")


def read(path: Path, name: str) -> list[Document]:
    """The file, entitled by front matter, else by the heading it begins with, else by its name.

    Raises RefusedArtifact, OSError.
    """
    metadata, text = front_matter(read_text(path))
    title = str(metadata.pop("title", "")) or heading(text) or PurePosixPath(name).stem
    return [Document(name, title, text, markdown=True, metadata=fitting(metadata))]


def front_matter(text: str) -> tuple[Metadata, str]:
    """What a block between `---` at the beginning says in plain `key: value` lines, and the text without the block.

    If a line of it could not stand in such a block, it is none, and stays in the text.
    """
    match = _FRONT.match(text)
    lines = match[1].splitlines() if match else []
    if match is None or not any(lines) or not all(_LINE.fullmatch(line) for line in lines):
        return {}, text
    plain = [found for line in lines if (found := _PLAIN.fullmatch(line))]
    return {found[1]: (found[2] or found[3] or found[4] or "").strip() for found in plain}, text[match.end() :]


def heading(text: str) -> str:
    """The heading that `text` begins with, or nothing."""
    match = _HEADING.match(text.lstrip())
    return match[1] if match else ""
