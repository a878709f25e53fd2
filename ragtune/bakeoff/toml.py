"""Writing TOML, which Python only reads: texts, numbers, lists of them, sections, and lists of sections."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | Path | Sequence["Value"] | Mapping[str, "Value"]


def written(values: Mapping[str, Value], about: str = "") -> str:
    """As a TOML document, `about` as a comment at its head. A mapping becomes a section, a list of mappings sections
    of the same name; mappings in these stand on one line."""
    plain = {key: value for key, value in values.items() if not (isinstance(value, Mapping) or _sections(value))}
    lines = [f"# {line}" for line in about.splitlines()] + _lines(plain)
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]", *_lines(value)]
        for section in _sections(value):
            lines += ["", f"[[{name}]]", *_lines(section)]
    return "\n".join(lines) + "\n"


def _sections(value: Value) -> list[Mapping[str, Value]]:
    """The members of a list of mappings; none of anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    found = [member for member in value if isinstance(member, Mapping)]
    return found if len(found) == len(value) else []


def _lines(values: Mapping[str, Value]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in values.items()]


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, str | Path):  # a JSON text is a TOML text, but for the sign that only JSON lets stand
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(_value(v) for v in value) + "]"
