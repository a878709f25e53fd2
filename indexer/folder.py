"""What a folder holds for an index: the files of a format we read, by name, and a Problem for all that is left out."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from indexer.documents import Problem
from indexer.formats import FORMATS, format_of
from ragtune.errors import RefusedArtifact
from ragtune.roots import real_path

SUFFIXES = tuple(FORMATS)
_MOST_KINDS = 20  # of files that nobody can read; more of them share one Problem


def find_files(folder: Path) -> Iterator[tuple[str, Path] | Problem]:
    """The files below `folder` as (name, path), in order of name, and what is left out; of a file, itself.

    A name is the path below the folder. Links are followed to files inside the folder only. Left out, and told: links
    that lead out, what is no ordinary file, and, counted, hidden files and those of other suffixes. Raises
    RefusedArtifact if there is nothing at this path, InvalidRequest for one that cannot be looked at.
    """
    root = real_path(folder)
    if root.is_file():
        return iter([(folder.name, root)])
    if not root.is_dir():
        raise RefusedArtifact(f"there is no folder {folder}")
    return _Walk(root).files()


class _Walk:
    """One pass over a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hidden = 0
        self._kinds: Counter[str] = Counter()

    def files(self) -> Iterator[tuple[str, Path] | Problem]:
        """What is found, and then what was passed over."""
        waiting = self._children(self._root)
        while waiting:
            path = waiting.pop()
            try:
                if path.name.startswith("."):
                    self._hidden += 1
                elif path.is_dir() and not path.is_symlink():
                    waiting += self._children(path)
                else:
                    yield from self._one(path)
            except OSError as error:
                yield Problem(source=self._name(path), reason=f"cannot be looked at: {error.strerror}")
        yield from self._left_out()

    def _children(self, folder: Path) -> list[Path]:
        """The last first."""
        return sorted(folder.iterdir(), reverse=True)

    def _one(self, path: Path) -> Iterator[tuple[str, Path] | Problem]:
        name = self._name(path)
        if path.is_symlink() and (reason := self._refused_link(path)):
            yield Problem(source=name, reason=reason)
        elif format_of(path) is None:
            self._kinds[path.suffix.lower()] += 1
        elif not path.is_file():
            yield Problem(source=name, reason="not an ordinary file")
        elif not name.isprintable():
            yield Problem(source=name, reason="the file's name is not readable text")
        else:
            yield name, path

    def _refused_link(self, path: Path) -> str | None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link that leads nowhere"
        if not target.is_relative_to(self._root):
            return "a link that leads out of the folder"
        return "a link to a folder; its files are read where they are" if target.is_dir() else None

    def _left_out(self) -> Iterator[Problem]:
        if self._hidden:
            yield Problem(source=".*", reason=f"hidden; left out: {self._hidden}")
        common = self._kinds.most_common()
        for suffix, files in common[:_MOST_KINDS]:
            reason = f"{'not a format that is read' if suffix else 'without a suffix'}; files left out: {files}"
            yield Problem(source=f"*{suffix}", reason=reason)
        if rest := common[_MOST_KINDS:]:
            reason = f"not formats that are read, {len(rest)} more; files left out: {sum(n for _, n in rest)}"
            yield Problem(source="*", reason=reason)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
