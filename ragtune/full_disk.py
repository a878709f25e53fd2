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
            raise StorageFull(
                f"the disk under {folder} is full; nothing was published, and what was saved "
                "before stays: make room, and start the same again"
            ) from error
        raise


def _is_full(error: BaseException | None) -> bool:
    """Whether it is one, or came while one was dealt with, as in torch.save."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(words in str(error) for words in _IN_WORDS):
            return True
        error = error.__context__
    return False
