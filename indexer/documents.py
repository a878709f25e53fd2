"""Documents in: Markdown, text and JSONL from a folder. A broken file is reported and never stops the build."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.errors import RefusedArtifact
from ragtune.roots import real_path

SUFFIXES = (".md", ".txt", ".jsonl")
_MOST_BYTES = 32 * 1024 * 1024  # a text file beyond this is no document


@dataclass(frozen=True)
class Document:
    """One text. `id` is the path below the ingested folder, or the id its record gives; `markdown` has headings."""

    id: str
    title: str
    text: str
    markdown: bool = False


class Problem(BaseModel):
    """A file, or a record of one, that could not be read, and why."""

    model_config = ConfigDict(frozen=True)

    source: str
    reason: str


class _Record(BaseModel):
    """A line of a .jsonl file."""

    id: str = Field(min_length=1)
    title: str = ""
    text: str = Field(min_length=1)


def read_documents(folder: Path) -> tuple[list[Document], list[Problem]]:
    """All documents below `folder` (or of one file), in order of path, and what could not be read.

    Raises RefusedArtifact if the path does not exist, or nothing below it can be read, InvalidRequest for one that
    cannot be looked at.
    """
    documents: dict[str, Document] = {}
    problems: list[Problem] = []
    root = real_path(folder)
    for path in _files(folder):
        if not path.resolve().is_relative_to(root):
            problems.append(Problem(source=path.name, reason="a link that leads out of the folder"))
            continue
        for item in _read(path, path.relative_to(folder).as_posix() if folder.is_dir() else path.name):
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


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise RefusedArtifact(f"there is no folder {folder}")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read(path: Path, name: str) -> Iterator[Document | Problem]:
    if not name.isprintable():
        yield Problem(source=ascii(name), reason="the file's name is not readable text")
        return
    try:
        if path.stat().st_size > _MOST_BYTES:
            yield Problem(source=name, reason=f"larger than {_MOST_BYTES >> 20} MiB")
            return
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        yield Problem(source=name, reason=f"not UTF-8 text (byte {error.start})")
        return
    except OSError as error:
        yield Problem(source=name, reason=error.strerror or str(error))
        return
    if path.suffix.lower() == ".jsonl":
        yield from _records(text, name)
    elif "\0" in text:
        yield Problem(source=name, reason="not a text file: it contains zero bytes")
    elif not text.strip():
        yield Problem(source=name, reason="the file is empty")
    else:
        yield Document(name, _title(text) or path.stem, text, markdown=path.suffix.lower() == ".md")


def _records(text: str, name: str) -> Iterator[Document | Problem]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _Record.model_validate(json.loads(line))
        except (
            ValueError,
            RecursionError,
        ) as error:  # no JSON, not the shape, a number without end, nested without end
            reason = _first(error) if isinstance(error, ValidationError) else str(error).partition(": line")[0]
            yield Problem(source=f"{name}, line {number}", reason=reason)
        else:
            yield Document(record.id, record.title, record.text)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"


def _title(text: str) -> str:
    first = text.lstrip().splitlines()[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
