"""An adapter from the hub: its files alone, in safetensors, nothing that could run."""

import errno
import re
import shutil
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import DryRunError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

from adapters.layout import WANTED, check_whole, is_wanted
from ragtune.errors import RagtuneError, RefusedArtifact, TooLarge, Unavailable

REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
REVISION = r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*"
_TOO_MANY, _FAULTS = 429, 500  # statuses of a hub that may have it another time
_NAMES = re.compile(rf"{REPOSITORY}(@{REVISION})?", re.ASCII)


def fetch(
    repository: str,
    revision: str | None,
    target: Path,
    most: int,
    missing: type[RagtuneError] = RefusedArtifact,
) -> None:
    """Copy the files of the adapter in a repository of the hub into `target`, by way of the hub's own cache.

    Asks the hub unless HF_HUB_OFFLINE is set; what its cache holds serves when it cannot be asked. Raises `missing` if
    there is no such repository or revision, RefusedArtifact if it cannot be had or holds no adapter, Unavailable if
    the hub cannot be asked now, TooLarge over `most` bytes.
    """
    named = f"{repository}@{revision}" if revision else repository
    if not _NAMES.fullmatch(named) or ".." in named:
        raise RefusedArtifact(f"{named[:200]!r} names nothing on the hub; write USER/REPOSITORY, the revision apart")
    try:
        size = _announced(repository, revision)
        if size > most:
            raise _too_large(named, size, most)
        snapshot = Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
    except TooLarge:
        raise
    except Exception as error:  # whatever the network and that library come up with
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _refusal(named, error, missing) from error
    wanted = [path for path in snapshot.iterdir() if path.is_file() and is_wanted(path.name)]
    check_whole({path.name for path in wanted}, (), f"{named} on the hub")
    size = sum(path.stat().st_size for path in wanted)
    if size > most:
        raise _too_large(named, size, most)
    for path in wanted:
        shutil.copyfile(path, target / path.name)


def _announced(repository: str, revision: str | None) -> int:
    """The bytes a download would bring, by what the hub says; 0 where it cannot be asked: the cache costs nothing."""
    try:
        planned = snapshot_download(repository, revision=revision, allow_patterns=list(WANTED), dry_run=True)
    except DryRunError:
        return 0
    return sum(file.file_size or 0 for file in planned)


def _refusal(named: str, error: Exception, missing: type[RagtuneError]) -> RagtuneError:
    """What it means that the hub's library has failed so."""
    told = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    status = told.response.status_code if isinstance(told, HfHubHTTPError) else None
    reason = f"{named} cannot be had from the hub ({_first_line(error)})"
    if not constants.HF_HUB_OFFLINE and (status is None or status == _TOO_MANY or status >= _FAULTS):
        return Unavailable(f"{reason}; try again, or upload the adapter as an archive")
    kind = RefusedArtifact if isinstance(told, GatedRepoError) else missing
    return kind(
        f"{reason}; check the name, HF_HUB_OFFLINE and, for a private one, HF_TOKEN of the server, or upload the "
        "adapter as an archive"
    )


def _too_large(named: str, size: int, most: int) -> TooLarge:
    return TooLarge(f"{named} has {size} bytes, {most} are taken; RAGTUNE_MAX_UPLOAD sets this limit")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
