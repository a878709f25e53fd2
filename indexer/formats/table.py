"""CSV: a row is a document. The first row names the columns; `id`, `title` and `text` mean what they say.

With a column `text`, the other columns are metadata. Without one, all columns are the text, as "name: value" lines, and
metadata besides where they fit.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from indexer.documents import Document, Metadata, Problem
from indexer.formats.encoding import decoded, read_bytes
from indexer.formats.limits import checked, fitting
from ragtune.errors import RefusedArtifact

MOST_BYTES = 64 << 20
MOST_ROWS = 500_000
_LONGEST_LINE = 4 << 20  # characters


@dataclass(frozen=True)
class _Columns:
    """The names in the first row, as written; `text`, `id` and `title` are found in any case."""

    names: tuple[str, ...]

    def document(self, cells: list[str], default_id: str) -> Document:
        """A row as a document. Raises RefusedArtifact."""
        if len(cells) != len(self.names):
            raise RefusedArtifact(f"{len(cells)} cells, the header names {len(self.names)}")
        known = {name.lower(): cell.strip() for name, cell in zip(self.names, cells, strict=True)}
        others: Metadata = {
            name: cell
            for name, cell in zip(self.names, cells, strict=True)
            if cell.strip() and name.lower() not in ("id", "title", "text")
        }
        row_id, title = known.get("id") or default_id, known.get("title", "")
        if "text" in known:
            return checked(Document(row_id, title, known["text"], metadata=others))
        lines = [f"{name}: {cell.strip()}" for name, cell in zip(self.names, cells, strict=True) if cell.strip()]
        return checked(Document(row_id, title, "\n".join(lines), metadata=fitting(others)))


def read(path: Path, name: str) -> Iterator[Document | Problem]:
    """The rows; those without any text in them are passed over. Raises RefusedArtifact, OSError."""
    text = decoded(read_bytes(path, MOST_BYTES))
    csv.field_size_limit(_LONGEST_LINE)
    rows = csv.reader(_lines(text), delimiter=_delimiter(text), strict=True)
    found = 0
    try:
        columns = _columns(next(rows, []))
        for cells in islice(rows, MOST_ROWS):
            if not any(cell.strip() for cell in cells):
                continue
            found += 1
            try:
                yield columns.document(cells, f"{name}#{found}")
            except RefusedArtifact as error:
                yield Problem(source=f"{name}, row {found}", reason=error.message)
        if next(rows, None) is not None:
            reason = f"more than {MOST_ROWS} rows; what comes from here on is left out: split the file"
            yield Problem(source=f"{name}, row {found + 1}", reason=reason)
    except csv.Error as error:
        reason = f"not CSV ({error}); what comes from here on is left out"
        yield Problem(source=f"{name}, line {rows.line_num}", reason=reason)
        return
    if not found:
        raise RefusedArtifact("holds no rows below its header")


def _lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        if end - at > _LONGEST_LINE:
            raise csv.Error(f"a line of more than {_LONGEST_LINE >> 20} Mi characters")
        yield text[at:end]
        at = end


def _delimiter(text: str) -> str:
    """What the header has most of, of comma, semicolon and tab."""
    header = text[: text.find("\n") + 1 or len(text)]
    return max(",;\t", key=header.count)


def _columns(cells: list[str]) -> _Columns:
    names = tuple(cell.strip() for cell in cells)
    if not all(names):
        raise RefusedArtifact("the first row must name every column; one of its cells is empty")
    if len({name.lower() for name in names}) < len(names):
        raise RefusedArtifact("the first row must name the columns, and names one twice")
    return _Columns(names)
