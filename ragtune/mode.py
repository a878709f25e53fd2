"""The mode language: one short string says what a request combines.

    mode    = "base" | part ("+" part)*
    part    = "rag" [":" INDEX] | "prompt:" TEMPLATE | ADAPTER        each name may carry "@" VERSION

`Mode.parse` is pure syntax: it knows no names. Adapters stay in the order written, because only the catalogue knows
which of them is a weight adapter and which a soft prompt; it asks for the canonical order afterwards.
"""

import re
from dataclasses import dataclass

from ragtune.errors import InvalidRequest

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
RESERVED = frozenset({"base", "rag", "prompt"})
_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(r"[0-9]{1,9}|" + NAME_PATTERN)


def check_name(name: str, what: str = "name") -> str:
    """`name` itself if it is a legal, unreserved resource name; raises InvalidRequest otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{what} {name!r} is not a legal name: use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit",
            param=what,
        )
    if name in RESERVED:
        raise InvalidRequest(f"{what} {name!r} is a reserved word of the mode language", param=what)
    return name


def check_alias(alias: str) -> str:
    """`alias` itself if it can stand after '@' and be told from a number; raises InvalidRequest otherwise."""
    if not _NAME.fullmatch(alias) or alias.isdigit():
        raise InvalidRequest(
            f"{alias!r} is not a legal alias: use 1 to 64 of a-z 0-9 . _ - that begin with a letter or digit and are "
            "not all digits",
            param="alias",
        )
    return alias


@dataclass(frozen=True)
class Ref:
    """A name, optionally pinned: `version` is a number as text, an alias, or None for the current version."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str, what: str = "name") -> "Ref":
        """Read `name` or `name@version`; raises InvalidRequest."""
        name, at, version = text.partition("@")
        check_name(name, what)
        if at and not _VERSION.fullmatch(version):
            raise InvalidRequest(f"{text!r}: after '@' comes a version number or an alias", param=what)
        return cls(name, version if at else None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Mode:
    """What a request asks for, as written. `rag` with `index=None` is the bare `rag`: the default index."""

    adapters: tuple[Ref, ...] = ()
    template: Ref | None = None
    rag: bool = False
    index: Ref | None = None

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """Read a mode string; raises InvalidRequest that says which part is wrong."""
        if text == "base":
            return cls()
        adapters: list[Ref] = []
        template: Ref | None = None
        index: Ref | None = None
        rag = False
        for part in text.split("+"):
            head, colon, rest = part.partition(":")
            if not part or part == "base":
                raise InvalidRequest(f"mode {text!r}: {_empty_or_base(part)}", param="mode")
            if head == "prompt" and colon:
                if template is not None:
                    raise InvalidRequest(f"mode {text!r} has two prompt: parts; at most one is allowed", param="mode")
                template = Ref.parse(rest, "template")
            elif head == "rag" or part.startswith("rag@"):
                if rag:
                    raise InvalidRequest(f"mode {text!r} has two rag parts; at most one is allowed", param="mode")
                rag, index = True, _index_of(part, rest if colon else None)
            else:
                ref = Ref.parse(part, "adapter")
                if any(other.name == ref.name for other in adapters):
                    raise InvalidRequest(f"mode {text!r} names {ref.name!r} twice", param="mode")
                adapters.append(ref)
        return cls(tuple(adapters), template, rag, index)

    def __str__(self) -> str:
        parts = [str(ref) for ref in self.adapters]
        if self.template is not None:
            parts.append(f"prompt:{self.template}")
        if self.rag:
            parts.append("rag" if self.index is None else f"rag:{self.index}")
        return "+".join(parts) or "base"


def _empty_or_base(part: str) -> str:
    return "'base' stands alone, it adds nothing to other parts" if part else "there is an empty part"


def _index_of(part: str, name: str | None) -> Ref | None:
    if name is not None:
        return Ref.parse(name, "index")
    if part == "rag":
        return None
    raise InvalidRequest(f"{part!r}: name the index to pin its version, as in rag:handbook@3", param="mode")
