"""A full disk is told as one, whichever library met it, and nothing else is."""

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ragtune.errors import RefusedArtifact, StorageFull
from ragtune.full_disk import full_disk_told


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_errors_of_a_full_disk_are_told_as_one(error: Exception) -> None:
    with pytest.raises(StorageFull, match="the disk under /home is full") as told, full_disk_told(Path("/home")):
        raise error
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), RefusedArtifact("(os error 28)"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)), full_disk_told(Path("/home")):
        raise error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_really_full_is_one() -> None:
    with pytest.raises(StorageFull), full_disk_told(Path("/dev")):
        Path("/dev/full").write_text("x")
