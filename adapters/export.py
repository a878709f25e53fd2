"""Hand an adapter out again: the files plain PEFT loads, in a folder or a zip, all of them or none."""

import errno
import shutil
import uuid
from pathlib import Path
from zipfile import ZipFile

from adapters.manifest import RECORD_FILE, AdapterManifest
from adapters.peft_config import CONFIG_FILE
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import InvalidRequest, StorageFull
from ragtune.versions import Version


def files_of(version: Version[AdapterManifest]) -> list[Path]:
    """The files of a version that plain PEFT loads, and the record of its training if it was trained here."""
    wanted = [version.folder / name for name in (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)]
    return [path for path in wanted if path.is_file()]


def export(version: Version[AdapterManifest], target: Path) -> list[str]:
    """Write the files of `version` to `target`, a new or empty folder, or a new file that ends in .zip.

    Returns their names. Written beside and renamed, so that `target` is there whole or not at all. Raises
    InvalidRequest if something is there already, or if it cannot be written, StorageFull on a full disk.
    """
    _check_free(target)
    files, beside = files_of(version), target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        _write(files, beside, zipped=_is_zip(target))
        beside.rename(target)
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else InvalidRequest
        raise kind(f"cannot write {target}: {error.strerror or error}; nothing was written") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True) if beside.is_dir() else beside.unlink(missing_ok=True)
    return [path.name for path in files]


def _check_free(target: Path) -> None:
    if not target.parent.is_dir():
        raise InvalidRequest(f"there is no folder {target.parent} to write {target.name} into; make it first")
    if target.is_symlink() or (target.exists() and (_is_zip(target) or not target.is_dir() or any(target.iterdir()))):
        raise InvalidRequest(f"{target} is there already; name an empty folder, or something new")


def _is_zip(target: Path) -> bool:
    return target.suffix.lower() == ".zip"


def _write(files: list[Path], beside: Path, zipped: bool) -> None:
    if zipped:
        with ZipFile(beside, "x") as archive:
            for path in files:
                archive.write(path, path.name)
        return
    beside.mkdir()
    for path in files:
        shutil.copyfile(path, beside / path.name)
