"""Bytes to text: UTF-8, or UTF-16 with its mark. Anything else is named and refused, never guessed at."""

import codecs
import re
from pathlib import Path

from ragtune.errors import RefusedArtifact

MOST_BYTES = 32 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 4096  # bytes around the first that is no UTF-8; enough to tell by, and quick
_NEWLINE = re.compile(r"\r\n?")


def read_text(path: Path) -> str:
    """The text of a file, its lines ended by line feeds. Raises RefusedArtifact, OSError."""
    return decoded(read_bytes(path, MOST_BYTES))


def read_bytes(path: Path, most: int) -> bytes:
    """The whole file. Raises RefusedArtifact for more than `most` bytes, without reading them, OSError."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RefusedArtifact(f"larger than {most >> 20} MiB; split it")
    if not data:
        raise RefusedArtifact("the file is empty")
    return data


def decoded(data: bytes, declared: str | None = None) -> str:
    """`data` as text: by its mark, else as it declares itself, else as UTF-8.

    Raises RefusedArtifact, with the encoding that it looks like and how to convert it.
    """
    encoding = marked(data) or declared or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RefusedArtifact(_hint(data, error.start, encoding)) from error
    except (LookupError, ValueError) as error:
        raise RefusedArtifact(f"declares an encoding nobody knows, {encoding[:40]!a}; save it as UTF-8") from error
    if "\0" in text:
        raise RefusedArtifact("not a text file: it contains zero bytes")
    return _NEWLINE.sub("\n", text)


def marked(data: bytes) -> str | None:
    """The encoding that a byte order mark at the beginning tells, if there is one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _hint(data: bytes, at: int, encoding: str) -> str:
    wrong = f"not {encoding.removesuffix('-sig').upper()} text (byte {at})"
    if encoding != "utf-8":
        return f"{wrong}, although it says so; save it as UTF-8"
    guess = None if b"\0" in data[:_SAMPLE] else _guess(data[max(0, at - _SAMPLE // 2) : at + _SAMPLE // 2])
    if guess is None:
        return f"{wrong}, and like no other encoding; is it a text file?"
    return f"{wrong}; it looks like {guess}: convert it with 'iconv -f {guess} -t UTF-8'"


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes  # only the one who has such a file pays for it

    best = from_bytes(sample).best()
    return None if best is None else str(best.encoding).upper().replace("_", "-")
