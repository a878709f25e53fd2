"""The registry of adapters: checked and probed, kept in the store as immutable versions."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from ragtune import mode_aliases
from ragtune.errors import RefusedArtifact
from ragtune.mode import Ref, check_name
from ragtune.pinned import Pinned
from ragtune.roots import followed, inside, real_path
from ragtune.store import Database
from ragtune.versions import Version, Versions

KIND = "adapter"


class Adapters:
    """Named, versioned adapters of one base model.

    `roots` are the folders adapters may come from; None allows any, as for a person at the terminal of this machine.
    """

    def __init__(self, home: Path, database: Database, base: BaseModelInfo, roots: Sequence[Path] | None) -> None:
        self.versions = Versions(home, database, KIND, AdapterManifest, apart_from=mode_aliases.KIND)
        self.pinned = Pinned(database, KIND)
        self._base = base
        self._roots = roots

    def add(self, name: str, folder: Path, author: str = "") -> Version[AdapterManifest]:
        """Check and probe the adapter in `folder`, and publish a copy; the same bytes again are no new version.

        Raises Forbidden outside the allowed roots, RefusedArtifact with the reason for anything that cannot be served.
        """
        from adapters.preparing import Preparing  # brings torch and PEFT; a service has it done by another process

        check_name(name, "adapter")
        source = self.source(folder)
        with self.versions.staging() as staged:
            return self.publish(name, staged, Preparing(self._base).prepare(source, staged), author)

    def source(self, folder: Path) -> Path:
        """`folder` with all links followed. One of `versions.staging`, where uploads arrive, needs no root.

        Raises Forbidden outside the allowed roots, RefusedArtifact if there is no such folder.
        """
        real = real_path(folder) if self.versions.is_staged(followed(folder)) else self.allowed(folder)
        if not real.is_dir():
            raise RefusedArtifact(f"there is no folder {folder}")
        return real

    def allowed(self, path: Path, param: str = "path") -> Path:
        """`path` with all links followed. Raises Forbidden outside the allowed roots; `param` is its field."""
        return real_path(path) if self._roots is None else inside(path, self._roots, "RAGTUNE_ADAPTER_ROOTS", param)

    def publish(self, name: str, staged: Path, manifest: AdapterManifest, author: str = "") -> Version[AdapterManifest]:
        """Make a prepared folder the current version of `name`; a version with the same bytes becomes that again."""
        return self.versions.publish(name, staged, manifest, author=author, same=partial(_same, manifest))

    def get(self, ref: Ref, *, param: str | None = None) -> Version[AdapterManifest]:
        """The version `ref` names. Raises UnknownName with near matches; `param` is the field at fault."""
        return self.versions.resolve(ref, param=param)

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        return self.versions.names()

    def current(self) -> list[Version[AdapterManifest]]:
        """The current version of every adapter."""
        return self.versions.current()

    def remove(self, name: str) -> list[Version[AdapterManifest]]:
        """Delete `name` with all its versions; returns them. Raises UnknownName."""
        return self.versions.delete(name)


def _same(new: AdapterManifest, there: AdapterManifest) -> bool:
    """The same bytes for the same base model, and proven: for another base model it is another one."""
    return there.proof is not None and (new.sha256, new.checked_against) == (there.sha256, there.checked_against)
