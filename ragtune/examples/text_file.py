"""A file of examples as text, and errors that name the place in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ragtune.errors import RefusedArtifact, UnknownName

Loc = tuple[int | str, ...]


@dataclass(frozen=True)
class TextFile:
    """The text of a file and where it came from."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "TextFile":
        """A UTF-8 file, a byte order mark dropped. Raises RefusedArtifact if it cannot be read, or is no UTF-8."""
        try:
            written = path.read_bytes()
            return cls(path, written.decode("utf-8-sig"))
        except OSError as error:
            raise RefusedArtifact(f"cannot read examples {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = written.count(b"\n", 0, error.start) + 1
            raise RefusedArtifact(
                f"cannot read examples {path}, line {line}: byte 0x{written[error.start]:02x} is not UTF-8; "
                "save the file as UTF-8"
            ) from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines that are not blank, with their numbers from 1. Only a line feed ends a line, as in JSON."""
        for number, line in enumerate(self.text.split("\n"), start=1):
            if line.strip():
                yield number, line

    def refused(self, place: str, reason: str) -> RefusedArtifact:
        """The error for `place`."""
        return RefusedArtifact(f"{self.path}, {place}: {reason}")

    def unfit(
        self, place: str, error: ValidationError, model: type[BaseModel], whole: Callable[[Loc], str] | None = None
    ) -> RefusedArtifact:
        """The error for what does not fit `model`: the first problem, an unknown field before one that is missing.

        `whole` words the place of the field, where dots between its parts will not do.
        """
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        field = whole(first["loc"]) if whole else ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            reason = UnknownName.among("field", name, model.model_fields).message if len(first["loc"]) == 1 else reason
        return self.refused(place, f"{field}: {reason}" if field else reason)
