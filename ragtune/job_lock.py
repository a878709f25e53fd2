"""Whether anybody still works on a job: a file that whoever does keeps locked, so that the system knows when it died.

The lock belongs to the open file, and a process that is started with it as its standard input has the same one: it is
held without a gap from before the job's row is written until the last process that has it ends, in whichever way.
Process numbers are never looked at; they mean nothing in another container, and are used again.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

_STDIN = 0


class JobLock:
    """The lock of one job, held until it is released, or this process and all that were given it have ended."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self.file = file

    @classmethod
    def acquire(cls, path: Path) -> "JobLock":
        """A new one; nobody may know of the job yet."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, file)

    @classmethod
    def inherited(cls, path: Path) -> "JobLock | None":
        """The one this process was started with; None if it was started with another standard input."""
        try:
            expected, given = path.stat(), os.fstat(_STDIN)
        except OSError:
            return None
        if (expected.st_dev, expected.st_ino) != (given.st_dev, given.st_ino):
            return None
        file = os.fdopen(os.dup(_STDIN), "rb")  # one that processes started from here do not get
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.close(nothing)
        return cls(path, file)

    def hand_over(self) -> None:
        """Let go without releasing: a process that was started with it holds it from now on."""
        self.file.close()

    def release(self) -> None:
        """Nobody works on the job any more, which its row says already."""
        self._path.unlink(missing_ok=True)
        self.file.close()


def is_held(path: Path) -> bool:
    """Whether somebody works on the job with this lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):  # another user's is theirs to recognise
        return True
    return False
