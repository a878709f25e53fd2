"""JSONL: a line is a document, {"id", "title", "text", "metadata"}; further plain fields are metadata, too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from indexer.documents import Document, Metadata, Problem, Scalar
from indexer.formats.encoding import decoded, marked
from indexer.formats.limits import checked
from ragtune.errors import RefusedArtifact

MOST_BYTES = 256 << 20
LONGEST_LINE = 4 << 20  # bytes; the longest books have less
MOST_RECORDS = 500_000


class _Record(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "_id"), coerce_numbers_to_str=True)
    title: str | None = None
    text: str = Field(min_length=1)
    metadata: dict[str, Any] | None = None


def read(path: Path, name: str) -> Iterator[Document | Problem]:
    """The records, one line in memory at a time. Raises RefusedArtifact, OSError.

    Fields that are neither texts nor numbers are left out, and one Problem says which.
    """
    left_out: dict[str, None] = {}
    with path.open("rb") as file:
        _check(file, path)
        records = 0
        for number, line in enumerate(_lines(file), start=1):
            if line is not None and not line.strip():
                continue
            records += 1
            if records > MOST_RECORDS:
                reason = f"more than {MOST_RECORDS} records; what comes from here on is left out: split the file"
                yield Problem(source=f"{name}, line {number}", reason=reason)
                break
            try:
                yield _document(line, left_out)
            except RefusedArtifact as error:
                yield Problem(source=f"{name}, line {number}", reason=error.message)
        if not records:
            raise RefusedArtifact("the file is empty")
    if left_out:
        reason = f"read, but for fields that are neither texts nor numbers: {', '.join(list(left_out)[:10])}"
        yield Problem(source=name, reason=reason)


def _check(file: BinaryIO, path: Path) -> None:
    if path.stat().st_size > MOST_BYTES:
        raise RefusedArtifact(f"larger than {MOST_BYTES >> 20} MiB; split it")
    encoding = marked(file.read(4))
    file.seek(3 if encoding == "utf-8-sig" else 0)
    if encoding == "utf-16":
        raise RefusedArtifact("records must be UTF-8: convert it with 'iconv -f UTF-16 -t UTF-8'")


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines; None for one that is too long, which is never held whole."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield None


def _document(line: bytes | None, left_out: dict[str, None]) -> Document:
    if line is None:
        raise RefusedArtifact(f"the line is longer than {LONGEST_LINE >> 20} MiB; split the text")
    decoded(line)  # a wrong encoding is told as such
    try:
        record = _Record.model_validate_json(line)
    except ValidationError as error:
        raise RefusedArtifact(_first(error)) from error
    metadata: Metadata = {}
    for key, value in ((record.model_extra or {}) | (record.metadata or {})).items():
        if isinstance(value, Scalar):
            metadata[key] = value
        elif value is not None:
            left_out[repr(key[:40])] = None
    return checked(Document(record.id, record.title or "", record.text, metadata=metadata))


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
