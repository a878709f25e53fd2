"""Where a bake-off works: its folder, ragtune's own commands on its home, and what they have published there."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from ragtune.bakeoff.files import Files
from ragtune.commands import Commands
from ragtune.errors import UnknownName
from ragtune.jobs import Jobs
from ragtune.mode import Ref
from ragtune.settings import PREFIX, Settings
from ragtune.stages import fingerprint
from ragtune.store import Database
from ragtune.terminal import say
from ragtune.versions import Versions


class _Anything(BaseModel):
    """A manifest of any kind: here only names and numbers matter."""


@dataclass(frozen=True)
class Workplace:
    """Files, commands, and what came of them."""

    files: Files
    commands: Commands

    def command(self, *arguments: str, limit: float | None = None) -> None:
        """Show one of ragtune's commands as it would be typed, and run it. Raises as `Commands.run` does."""
        say(f"$ ragtune {shlex.join(arguments)}")
        self.commands.run(*arguments, limit=limit)

    def inputs(self, *parts: str | Path) -> str:
        """A hash over files, folders and texts, and the settings in force."""
        settings = [f"{k}={v}" for k, v in sorted(self.commands.environ.items()) if k.startswith(PREFIX)]
        return fingerprint(*parts, *settings)

    def current(self, kind: str, name: str) -> str:
        """The version that a bare name means. Raises UnknownName."""
        return str(Versions(self.files.home, self._database, kind, _Anything).resolve(Ref(name)))

    def there(self, kind: str) -> Callable[[str], bool]:
        """Whether versions an earlier run published, comma separated, are still there, and what their names mean."""

        def is_current(version: str) -> bool:
            try:
                return self.current(kind, Ref.parse(version).name) == version
            except UnknownName:
                return False

        return lambda result: all(map(is_current, result.split(", ")))

    def why_failed(self, adapter: str, since: str) -> str | None:
        """What a training of an adapter that was begun `since` (in UTC, as jobs write it) says it failed with."""
        newest = Jobs(self._database, self.files.home).newest(1, kind="training", resource=f"adapter:{adapter}")
        return newest[0].error.message if newest and newest[0].created >= since and newest[0].error else None

    @property
    def _database(self) -> Database:
        return Database(Settings(home=self.files.home).database)


def near(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
