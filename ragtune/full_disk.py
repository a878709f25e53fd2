"""Telling a full disk, whichever library met it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragtune.errors import RagtuneError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_WORDS = tuple(f"os error {number})" for number in _FULL)  # as safetensors, which is Rust, passes them on


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Raises StorageFull for an error inside that comes of a disk, a quota or a limit of files that is full."""
    try:
        yield
    except RagtuneError:
        raise
    except Exception as error:
        if _is_full(error):
            raise StorageFull(f"the disk under {folder} is full; nothing was published. Free some of it") from error
        raise


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(words in str(error) for words in _IN_WORDS)
