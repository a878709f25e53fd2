"""Prompt templates: system text, few-shot examples, and how passages and question are laid out.

A template is a small TOML file. It is data, not code: `{query}`, `{passages}`, `{number}`, `{heading}`, `{document}`
and `{text}` are replaced once, literally, so nothing inside a document can be taken for a placeholder.

    system = "Answer in a few words."
    user = "{query}"                                  # layout of the last user message without passages
    user_with_passages = "{passages}\\n\\nQuestion: {query}"
    passage = "[{number}] {heading}\\n{text}"
    order = "canonical"                               # of the passages: or "best-last"

    [[examples]]
    user = "How long is the warranty of the Brevik 2?"
    assistant = "14 months"
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from ragtune.errors import RefusedArtifact
from ragtune.settings import PassageOrder, Settings

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACEHOLDERS = {  # of each layout: what it may hold, and what it must, as it would otherwise drop text silently
    "user": ({"query"}, {"query"}),
    "user_with_passages": ({"query", "passages"}, {"query", "passages"}),
    "passage": ({"number", "heading", "document", "text"}, {"text"}),
}


class FewShot(BaseModel):
    """One worked example shown before the question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str
    assistant: str


class Template(BaseModel):
    """How a request becomes chat messages. An empty `system` leaves the chat template's own default in force.

    Passages stand in `canonical` order, that of documents and places in them, so that the same passages are the same
    beginning of a prompt, whose KV is cached, for whatever question; or `best-last`, next to the question, which a
    small model reads best (docs/log.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = ""
    user: str = "{query}"
    user_with_passages: str = "Passages:\n\n{passages}\n\nQuestion: {query} Answer in the words of the passages above."
    passage: str = "[{number}] {heading}\n{text}"
    separator: str = "\n\n"
    order: PassageOrder = "canonical"
    examples: tuple[FewShot, ...] = ()

    @field_validator("user", "user_with_passages", "passage")
    @classmethod
    def _check_placeholders(cls, layout: str, info: ValidationInfo) -> str:
        allowed, required = _PLACEHOLDERS[info.field_name or ""]
        found = set(_PLACEHOLDER.findall(layout))
        if unknown := sorted(found - allowed):
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}; known here: {_braces(allowed)}")
        if missing := sorted(required - found):
            raise ValueError(f"the layout lacks {_braces(missing)}")
        return layout

    @classmethod
    def parse(cls, text: str, source: str = "template") -> "Template":
        """Read TOML text; raises RefusedArtifact naming `source` and the field at fault."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise RefusedArtifact(f"{source} is not valid TOML: {error}") from error
        except RecursionError as error:
            raise RefusedArtifact(f"{source} is nested too deeply") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RefusedArtifact(f"{source}: field {field!r}: {first['msg']}") from error

    @classmethod
    def read(cls, path: Path) -> "Template":
        """Read a TOML file; raises RefusedArtifact if it cannot be read or does not fit."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedArtifact(f"cannot read template {path}: {error}") from error

    @classmethod
    def default(cls, settings: Settings) -> "Template":
        """Where no template is named: the default layout, passages in the order that the settings say."""
        return cls(order=settings.passage_order)

    @property
    def sha256(self) -> str:
        """Hash of the content, independent of how the TOML was formatted."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def fill(layout: str, values: Mapping[str, str]) -> str:
    """Replace each `{name}` once by its value; values are never scanned again."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), layout)


def _braces(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
