"""The words of reading: a Document, and a Problem, which is what a broken file becomes."""

from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, field_validator

Scalar = str | int | float | bool
Metadata = dict[str, Scalar]


@dataclass(frozen=True)
class Document:
    """One text. `id` is the path below the ingested folder, or the id its record gives; `markdown` has structure.

    Lines of `text` end in a line feed. `metadata` has at most 32 keys, and texts of at most 1,024 characters.
    """

    id: str
    title: str
    text: str
    markdown: bool = False
    metadata: Metadata = field(default_factory=dict)


class Problem(BaseModel):
    """A file, or a record of one, that could not be read, and why. What cannot be printed in either is escaped."""

    model_config = ConfigDict(frozen=True)

    source: str
    reason: str

    @field_validator("source", "reason")
    @classmethod
    def _printable(cls, text: str) -> str:
        return text if text.isprintable() else ascii(text)[1:-1]
