"""Folders of versions on disk: built in a staging area, renamed into place, and found again when a crash left them.

<root>/<name>/<number>/        a version's folder, if a row knows it
<root>/.staging/<pid>-<id>/    being built, as long as that process lives
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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
        folder = self.root / STAGING / f"{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"the disk under {self.root} is full; nothing was published") from error
            raise
        finally:
            discard(folder)

    def settle(self, staged: Path, folder: Path) -> None:
        """Rename `staged`, which was flushed, into its place; what a crash has left there goes."""
        discard(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(folder)
        _flush_entry(folder.parent)

    def settled(self) -> list[Path]:
        """All folders in place, whether or not a row knows them."""
        return list(self.root.glob("[!.]*/*"))

    def abandoned(self) -> list[Path]:
        """Staging folders whose process is dead."""
        return [path for path in self.root.glob(f"{STAGING}/*") if not _alive(path.name.partition("-")[0])]


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


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
