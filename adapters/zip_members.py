"""What is in a zip archive, member by member: sizes in headers are not believed, and nothing is extracted by name."""

import io
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from adapters.member import CHUNK, Budget, Member, refused, safe_path
from ragtune.errors import RefusedArtifact, TooLarge

_ENCRYPTED = 0x1 | 0x40 | 0x2000  # the member, strongly, the directory
_MOST_AT_ONCE = 1 << 20
_DAMAGES = (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


class _Bounded(io.BufferedReader):
    """A file that gives little at once: the standard library reads a whole directory of members into memory."""

    def read(self, size: int | None = -1) -> bytes:
        """As a file does. Raises TooLarge for more than a MiB."""
        wanted = _MOST_AT_ONCE + 1 if size is None or size < 0 else size
        if wanted <= _MOST_AT_ONCE:
            return super().read(wanted)
        data = super().read(_MOST_AT_ONCE + 1)
        if len(data) > _MOST_AT_ONCE:
            raise TooLarge("the archive's list of members is too long; an adapter has only a few files")
        return data


def zip_members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The members in the order of the archive's directory.

    Raises RefusedArtifact for a broken archive, and for a member that is encrypted, a link or a device.
    """
    with archive.open("rb", buffering=0) as raw:
        with _readable():
            opened = ZipFile(_Bounded(raw))
        for info in opened.infolist():
            budget.meet()
            yield _member(opened, info, budget)


def _member(opened: ZipFile, info: ZipInfo, budget: Budget) -> Member:
    path = safe_path(info.orig_filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & _ENCRYPTED:
        raise refused(path, "encrypted")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(path, "a symbolic link" if kind == stat.S_IFLNK else "a device")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise refused(path, f"packed by method {info.compress_type}, not stored or deflated")
    return Member(path, info.is_dir() or kind == stat.S_IFDIR, partial(_chunks, opened, info, budget))


def _chunks(opened: ZipFile, info: ZipInfo, budget: Budget) -> Iterator[bytes]:
    with _readable(), opened.open(info) as file:
        while chunk := file.read(CHUNK):
            budget.spend(len(chunk))
            yield chunk


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _DAMAGES as error:
        raise RefusedArtifact(f"the zip archive is damaged or cut short: {error}") from error
