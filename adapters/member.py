"""One file in an archive, and how much an archive may still unfold to; what the readers of zip and tar share."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ragtune.errors import RefusedArtifact, TooLarge

CHUNK = 1 << 16
_SMALL = 8 << 20  # bytes below which nothing can be a bomb
_LONGEST = 1000  # characters of a name
_LONGEST_PART = 255  # bytes of a file's name that common file systems take
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Limits:
    """What is too much: bytes when unpacked, members, and bytes unpacked for each byte of the archive."""

    total: int
    members: int = 1000
    ratio: int = 200


@dataclass(frozen=True)
class Member:
    """A file or folder. `chunks` gives its bytes, unpacked; only until the next member is asked for."""

    path: PurePosixPath
    is_folder: bool
    chunks: Callable[[], Iterator[bytes]]


class Budget:
    """Counts members, and bytes as they are unpacked, whatever the archive's headers announce."""

    def __init__(self, archive_bytes: int, limits: Limits) -> None:
        self._limits = limits
        self._suspicious = max(_SMALL, archive_bytes * limits.ratio)
        self._spent = 0
        self._met = 0

    def meet(self) -> None:
        """One member more, or one header about members. Raises TooLarge over the limit."""
        self._met += 1
        if self._met > self._limits.members:
            raise TooLarge(
                f"the archive has more than {self._limits.members} members, headers about them included; send the "
                "adapter's files alone"
            )

    def spend(self, count: int) -> None:
        """Raises TooLarge over the limit, RefusedArtifact where so much comes out of so little that it is a bomb."""
        self._spent += count
        if self._spent > self._limits.total:
            raise TooLarge(f"the archive unpacks to more than {self._limits.total} bytes; RAGTUNE_MAX_UPLOAD limits it")
        if self._spent > self._suspicious:
            raise RefusedArtifact(
                f"the archive unpacks to over {self._limits.ratio} times its own size, as a decompression bomb does"
            )


def safe_path(name: str) -> PurePosixPath:
    """The path of a member inside its archive. Raises RefusedArtifact for one that could lead anywhere else."""
    shown = repr(name if len(name) <= 100 else name[:100] + "...")
    if len(name) > _LONGEST:
        raise RefusedArtifact(f"the archive's member {shown} has a name of more than {_LONGEST} characters")
    if any(ord(sign) < 32 or sign == "\x7f" for sign in name):
        raise RefusedArtifact(f"the archive's member {shown} has control characters in its name")
    path = PurePosixPath(name)
    if any(len(part.encode(errors="replace")) > _LONGEST_PART for part in path.parts):
        raise RefusedArtifact(
            f"the archive's member {shown} has a name that no file can have: more than {_LONGEST_PART} bytes"
        )
    if path.is_absolute() or "\\" in name or _DRIVE.match(name) or ".." in path.parts:
        raise RefusedArtifact(
            f"the archive's member {shown} leads out of the archive; names must be relative, without .."
        )
    return path


def refused(path: PurePosixPath, what: str) -> RefusedArtifact:
    """The refusal of a member that is no plain file."""
    return RefusedArtifact(
        f"the archive's member {str(path)[:100]!r} is {what}; only plain files and folders are taken"
    )
