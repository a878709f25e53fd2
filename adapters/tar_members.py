"""What is in a tar archive, plain or gzipped, member by member.

A reader of our own, because the standard library's understands every extension tar ever had, and archives exist that
keep it busy or fill the memory with them. This one reads plain files and folders with long names (ustar, pax and GNU;
IEEE 1003.1, pax) and refuses the rest.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from adapters.member import CHUNK, Budget, Member, refused, safe_path
from ragtune.errors import RefusedArtifact

_BLOCK = 512
_MOST_HEADER = 1 << 16  # bytes of an extended header
_GZIP = b"\x1f\x8b"
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_OTHERS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe"}
_OTHERS |= {b"S": "a sparse file"}


def is_tar(beginning: bytes) -> bool:
    """Whether a file that begins so is a tar."""
    return beginning[257:262] == b"ustar"


def is_gzip(beginning: bytes) -> bool:
    """Whether a file that begins so is compressed by gzip."""
    return beginning.startswith(_GZIP)


def tar_members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The members in the order of the archive.

    Everything is counted, also what is skipped: it was unpacked to get past it. Raises RefusedArtifact for a broken
    archive, and for a member that is a link, a device or a sparse file.
    """
    with archive.open("rb") as file:
        packed = iter(partial(file.read, CHUNK), b"")
        beginning = next(packed, b"")
        stream = _Stream(_gunzipped(beginning, packed) if is_gzip(beginning) else _chain(beginning, packed), budget)
        long_name, pax = "", dict[str, str]()
        while any(block := stream.exactly(_BLOCK)):
            budget.meet()
            header = _Header(block)
            size = _number(pax["size"].encode(), 10) if "size" in pax else header.size
            if header.kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
                content = stream.extended(header.size)
                if header.kind == _LONG_NAME:
                    long_name = content.rstrip(b"\0").decode(errors="replace")
                elif header.kind == _PAX:
                    pax = _records(content)
                continue
            name = pax.get("path") or long_name or header.name
            path = safe_path(name)
            if header.kind not in (*_FILES, _FOLDER) or any(key.startswith("GNU.sparse") for key in pax):
                raise refused(path, _OTHERS.get(header.kind, "of a kind that is not known here"))
            data = _Data(stream, size)
            yield Member(path, header.kind == _FOLDER or name.endswith("/"), data.chunks)
            data.skip()
            long_name, pax = "", {}


class _Header:
    """One header block. Raises RefusedArtifact if it is none."""

    def __init__(self, block: bytes) -> None:
        blank = block[:148] + b" " * 8 + block[156:]
        if not is_tar(block) or _number(block[148:156], 8) != sum(blank):
            raise RefusedArtifact("the tar archive is damaged: a header is not where it should be")
        name, prefix = _text(block[:100]), _text(block[345:500])
        self.name = f"{prefix}/{name}" if prefix and block[257:263] == b"ustar\0" else name  # GNU has times there
        self.kind = block[156:157]
        self.size = int.from_bytes(block[125:136]) if block[124] == 0x80 else _number(block[124:136], 8)


class _Stream:
    """Bytes in sequence, counted."""

    def __init__(self, chunks: Iterator[bytes], budget: Budget) -> None:
        self._chunks = chunks
        self._budget = budget
        self._rest = b""

    def some(self, most: int) -> bytes:
        """Between 1 and `most` bytes. Raises RefusedArtifact at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise RefusedArtifact("the tar archive is cut short")
            self._budget.spend(len(chunk))
            self._rest = chunk
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken

    def exactly(self, count: int) -> bytes:
        """`count` bytes; for headers, as they are all held in memory."""
        taken = bytearray()
        while len(taken) < count:
            taken += self.some(count - len(taken))
        return bytes(taken)

    def extended(self, size: int) -> bytes:
        """The content of an extended header, and past its padding."""
        if size > _MOST_HEADER:
            raise RefusedArtifact(f"the tar archive has a header of {size} bytes; {_MOST_HEADER} are the most")
        return self.exactly(size + -size % _BLOCK)[:size]


class _Data:
    """A member's bytes, to be read or skipped."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._left = size
        self._padding = -size % _BLOCK

    def chunks(self) -> Iterator[bytes]:
        """What has not been read yet."""
        while self._left:
            chunk = self._stream.some(min(self._left, CHUNK))
            self._left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        """Past the rest and the padding, to the next header."""
        for _ in self.chunks():
            pass
        self._stream.exactly(self._padding)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gunzipped(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks of at most CHUNK bytes; what stands behind the gzip stream is not read."""
    unzip, packed = zlib.decompressobj(wbits=31), first
    try:
        while packed:
            yield unzip.decompress(packed, CHUNK)
            if unzip.eof:
                return
            packed = unzip.unconsumed_tail or next(rest, b"")
    except zlib.error as error:
        raise RefusedArtifact(f"the gzip archive is damaged: {error}") from error


def _records(content: bytes) -> dict[str, str]:
    """The records `LENGTH key=value` of a pax header."""
    records = {}
    while content:
        length = _number(content[: max(content.find(b" ", 0, 8), 0)], 10)
        record, content = content[:length], content[length:]
        key, equals, value = record.partition(b" ")[2].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise RefusedArtifact("the tar archive is damaged: an extended header cannot be read")
        records[key.decode(errors="replace")] = value[:-1].decode(errors="replace")
    return records


def _number(digits: bytes, base: int) -> int:
    """A number as tar writes it. Raises RefusedArtifact for anything else, negative ones included."""
    digits = digits.strip(b" \0")
    if not digits.isdigit() or len(digits) > 20:
        raise RefusedArtifact("the tar archive is damaged: a number in a header cannot be read")
    try:
        return int(digits, base)
    except ValueError as error:
        raise RefusedArtifact("the tar archive is damaged: a number in a header is not octal") from error


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
