"""PDF: the text of each page, pages kept apart by blank lines. No layout is guessed, no picture is read."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

from indexer.documents import Document, Problem
from indexer.formats.limits import MOST_CHARACTERS
from ragtune.errors import RefusedArtifact

MOST_BYTES = 256 << 20
_TAIL = 1024  # bytes at the end among which the end mark must be
_ENCRYPTED = "is encrypted: save it without a password"
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")  # what a broken font table yields

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it thinks of a file it can read is not for our terminal


def read(path: Path, name: str) -> list[Document | Problem]:
    """All pages as one document; a Problem for a page that cannot be read. Raises RefusedArtifact, OSError."""
    _check_ends(path)
    with path.open("rb") as file:
        try:
            reader = PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                raise RefusedArtifact(_ENCRYPTED)
            title, pages = _title(reader), list(_pages(reader, name))
        except (DependencyError, FileNotDecryptedError) as error:
            raise RefusedArtifact(_ENCRYPTED) from error
    problems = [page for page in pages if isinstance(page, Problem)]
    text = "\n\n".join(page for page in pages if isinstance(page, str) and page)
    if not text and not problems:
        raise RefusedArtifact("holds no text; scanned pages need OCR first")
    return [*([Document(name, title or PurePosixPath(name).stem, text)] if text else []), *problems]


def _check_ends(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise RefusedArtifact(f"larger than {MOST_BYTES >> 20} MiB; split it")
    with path.open("rb") as file:
        if b"%PDF-" not in (start := file.read(_TAIL)):
            raise RefusedArtifact("is no PDF: it does not begin like one" if start else "the file is empty")
        file.seek(max(0, size - _TAIL))
        if b"%%EOF" not in file.read():
            raise RefusedArtifact("is cut off: its end is missing; copy it again")


def _title(reader: PdfReader) -> str:
    try:
        title = (reader.metadata.title if reader.metadata else None) or ""
    except Exception:  # noqa: BLE001  a broken title is no reason to do without the text
        return ""
    return " ".join(_NO_CHARACTER.sub("", title).split())[:200]


def _pages(reader: PdfReader, name: str) -> Iterator[str | Problem]:
    room = MOST_CHARACTERS
    for number, page in enumerate(reader.pages, start=1):
        try:
            text = _NO_CHARACTER.sub("\ufffd", page.extract_text()).strip()
        except (MemoryError, DependencyError, FileNotDecryptedError):
            raise
        except Exception as error:  # noqa: BLE001  pypdf raises all kinds; the other pages go on
            yield Problem(source=f"{name}, page {number}", reason=f"cannot be read: {str(error)[:200]}")
            continue
        room -= len(text) + 2
        if room < 0:
            raise RefusedArtifact(f"holds more than {MOST_CHARACTERS >> 20} Mi characters; split it")
        yield text
