"""Hand an adapter out again: what plain PEFT or transformers loads, in a folder or a zip, all of it or nothing.

Of a fine-tuned checkpoint the store holds what differs from the base model; with that it is made whole again.
"""

import errno
import shutil
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from adapters.base_model import BaseModelInfo
from adapters.content import CHECKPOINT_FILES, PEFT_FILES
from adapters.manifest import AdapterManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, StorageFull
from ragtune.versions import Version


def files_of(version: Version[AdapterManifest]) -> list[Path]:
    """The files of a version to be handed out as they are, the record of its training among them if it has one."""
    names = CHECKPOINT_FILES if version.manifest.kind == "checkpoint" else PEFT_FILES
    return [version.folder / name for name in names if (version.folder / name).is_file()]


def export(version: Version[AdapterManifest], target: Path, base: BaseModelInfo | None = None) -> list[str]:
    """Write the files of `version` to `target`, a new or empty folder, or a new file that ends in .zip.

    A checkpoint needs its base model. Returns the files' names. Written beside and renamed, so that `target` is there
    whole or not at all. Raises InvalidRequest if something is there already, or if it cannot be written, StorageFull on
    a full disk.
    """
    _check_free(target)
    files, beside = files_of(version), target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
            if version.manifest.kind == "checkpoint":
                files.append(_whole(version, base, Path(made)))
            _write(files, beside, zipped=_is_zip(target))
        beside.rename(target)
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else InvalidRequest
        raise kind(f"cannot write {target}: {error.strerror or error}; nothing was written") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True) if beside.is_dir() else beside.unlink(missing_ok=True)
    return [path.name for path in files]


def _whole(version: Version[AdapterManifest], base: BaseModelInfo | None, folder: Path) -> Path:
    """All weights of a checkpoint in one file. Raises IncompatibleParts without the base model it belongs to."""
    if base is None or base.fingerprint != version.manifest.checked_against:
        raise IncompatibleParts(
            f"{version} is a fine-tune of another base model than {base.id if base else 'none'}; set "
            "RAGTUNE_BASE_MODEL to the one it was added beside"
        )
    from adapters.checkpoint import make_whole  # brings torch, which no other kind needs

    return make_whole(version.folder, base, folder / "model.safetensors")


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
