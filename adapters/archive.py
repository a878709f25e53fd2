"""From an archive somebody sent to the few files that make an adapter, and nothing else on the disk.

Every member is looked at before the first byte is written. Then the wanted files are written under names of our own
list, so that no name out of the archive ever becomes a path.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from adapters.layout import check_whole, is_wanted
from adapters.member import Budget, Limits, Member
from adapters.tar_members import is_gzip, is_tar, tar_members
from adapters.zip_members import zip_members
from ragtune.errors import RefusedArtifact

_ZIP = b"PK\x03\x04"


def unpack(archive: Path, target: Path, limits: Limits) -> list[str]:
    """Write the adapter in `archive`, a zip or a tar (plain or gzipped), into the folder `target`.

    The adapter lies at the top or in one folder. Returns the names of the members that were left out. Raises
    RefusedArtifact, naming the member, for a broken or unsafe archive, TooLarge for one over `limits`; `target` may
    hold files then, and is the caller's to remove.
    """
    paths = _survey(archive, limits)
    home = _home(paths)
    for member in _members(archive, limits):
        if member.path in paths and member.path.parent == home and is_wanted(member.path.name):
            with (target / member.path.name).open("xb") as file:
                file.writelines(member.chunks())
    found = {path.name for path in target.iterdir()}
    ignored = [str(path) for path in paths if path.parent != home or path.name not in found]
    check_whole(found, ignored, "the archive")
    return ignored


def _survey(archive: Path, limits: Limits) -> list[PurePosixPath]:
    """The paths of all files."""
    paths: dict[PurePosixPath, None] = {}
    for member in _members(archive, limits):
        if member.path in paths:
            raise RefusedArtifact(f"the archive has the member {str(member.path)!r} twice")
        if not member.is_folder:
            paths[member.path] = None
    return list(paths)


def _home(paths: list[PurePosixPath]) -> PurePosixPath:
    """Where the adapter lies: at the top, else in the one folder that has files of one."""
    homes = sorted({path.parent for path in paths if is_wanted(path.name) and len(path.parts) <= 2})
    if not homes or homes[0] == PurePosixPath():
        return PurePosixPath()
    if len(homes) > 1:
        raise RefusedArtifact(f"the archive has adapters in {homes[0]}/ and {homes[1]}/; send one alone")
    return homes[0]


def _members(archive: Path, limits: Limits) -> Iterator[Member]:
    """By content, not by name."""
    try:
        with archive.open("rb") as file:
            beginning = file.read(512)
    except OSError as error:
        raise RefusedArtifact(f"cannot read {archive}: {error.strerror or error}") from error
    budget = Budget(archive.stat().st_size, limits)
    if beginning.startswith(_ZIP):
        return zip_members(archive, budget)
    if is_gzip(beginning) or is_tar(beginning):
        return tar_members(archive, budget)
    raise RefusedArtifact("this is neither a zip nor a tar archive (plain or gzipped)")
