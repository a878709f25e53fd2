"""Folders of versions on disk: built in a staging area, renamed into place, and found again when a crash left them.

<root>/<name>/<number>/   a version's folder, if a row knows it
<root>/.staging/<id>/     being built, as long as somebody keeps it locked

The lock is the folder's own (flock on the directory): there is no lock file that could end up in a version, and the
operating system drops it with the process, whichever number that has and in whichever container it ran.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragtune.errors import StorageFull

STAGING = ".staging"


class Folders:
    """The folders of one kind of resource."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh folder to build in; removed at the end unless it has been settled. Raises StorageFull."""
        try:
            folder, lock = self._locked()
            try:
                yield folder
            finally:
                discard(folder)
                os.close(lock)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"the disk under {self.root} is full; nothing was published") from error
            raise

    def settle(self, staged: Path, folder: Path) -> None:
        """Rename `staged`, which was flushed, into its place; what a crash has left there goes."""
        discard(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(folder)
        _flush_entry(folder.parent)

    def settled(self) -> list[Path]:
        """All folders in place, whether or not a row knows them."""
        return list(self.root.glob("[!.]*/*"))

    def discard_abandoned(self) -> list[Path]:
        """Remove the staging folders that nobody builds in any more; returns them."""
        gone = []
        for folder in self.root.glob(f"{STAGING}/*"):
            lock = _lock(folder)
            if lock is not None:
                discard(folder)
                os.close(lock)
                gone.append(folder)
        return gone

    def _locked(self) -> tuple[Path, int]:
        """A new staging folder and its lock. One that was taken for abandoned before it had a lock is left at that."""
        while True:
            folder = self.root / STAGING / uuid.uuid4().hex
            folder.mkdir(parents=True)
            lock = _lock(folder)
            if lock is not None and folder.exists():
                return folder, lock
            if lock is not None:
                os.close(lock)


def flush(folder: Path) -> None:
    """Force the folder's files to disk: a row must never point at content a power cut can still lose."""
    for path in [*folder.rglob("*"), folder]:
        _flush_entry(path)


def discard(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _flush_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """A descriptor that keeps `folder` locked until it is closed; None if another one does, or the folder is gone, or
    another user's."""
    with suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor
    return None
