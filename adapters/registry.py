"""The registry of adapters: PEFT folders, checked and copied into the store as immutable versions."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.inspection import inspect
from adapters.manifest import RECORD_FILE, AdapterManifest
from adapters.peft_config import CONFIG_FILE
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact
from ragtune.mode import Ref, check_name
from ragtune.roots import inside, real_path
from ragtune.store import Database
from ragtune.versions import Version, Versions

KIND = "adapter"
_COPIED = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)


class Adapters:
    """Named, versioned adapters of one base model.

    `roots` are the folders adapters may come from; None allows any, as for a person at the terminal of this machine.
    """

    def __init__(self, home: Path, database: Database, base: BaseModelInfo, roots: Sequence[Path] | None) -> None:
        self.versions = Versions(home, database, KIND, AdapterManifest)
        self._base = base
        self._roots = roots

    def add(self, name: str, folder: Path) -> Version[AdapterManifest]:
        """Check the PEFT adapter in `folder` and publish a copy of it; the same bytes again are no new version.

        A folder of `versions.staging`, where uploads and downloads arrive, needs no root. Raises Forbidden outside the
        allowed roots, RefusedArtifact with the reason for anything that cannot be served.
        """
        check_name(name, "adapter")
        source = real_path(folder)
        if not self.versions.is_staged(source):
            source = self.allowed(folder)
        if not source.is_dir():
            raise RefusedArtifact(f"there is no folder {folder}")
        inspect(source, self._base)
        with self.versions.staging() as staged:
            for file in _COPIED:
                if (source / file).is_file():
                    shutil.copyfile(self._inside(source, file), staged / file)
            manifest = inspect(staged, self._base)  # once more: the copy is what is served, and nobody can change it
            for existing in self.versions.current():
                if existing.name == name and existing.manifest == manifest:  # for another base model it is another one
                    return existing
            return self.versions.publish(name, staged, manifest)

    def allowed(self, path: Path, param: str = "path") -> Path:
        """`path` with all links followed. Raises Forbidden outside the allowed roots; `param` is its field."""
        return real_path(path) if self._roots is None else inside(path, self._roots, "RAGTUNE_ADAPTER_ROOTS", param)

    def get(self, ref: Ref) -> Version[AdapterManifest]:
        """The version `ref` names. Raises UnknownName with near matches."""
        return self.versions.resolve(ref, param="mode")

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        return self.versions.names()

    def current(self) -> list[Version[AdapterManifest]]:
        """The current version of every adapter."""
        return self.versions.current()

    def remove(self, name: str) -> list[Version[AdapterManifest]]:
        """Delete `name` with all its versions; returns them. Raises UnknownName."""
        return self.versions.delete(name)

    def _inside(self, source: Path, file: str) -> Path:
        """The file itself, if no link leads out of the folder."""
        real = (source / file).resolve()
        if not real.is_relative_to(source):
            raise RefusedArtifact(f"{file} is a link that leads out of the adapter's folder")
        return real
