"""Writes docs/reference/command-line.md: the help page of every command, as `ragtune ... --help` prints it.

python scripts/write_command_line.py            # a test notices when the file is no longer what is printed
"""

from collections.abc import Iterator
from pathlib import Path

import click

from ragtune.cli import root

FILE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
_HEAD = """# Command line

Every help page, written by `scripts/write_command_line.py`. Results go to stdout, words and progress to stderr. Exit
codes: 0 done, 1 failed (the message says why), 2 misuse, 130 interrupted. `--json` prints one JSON document.
"""


def page() -> str:
    """The whole file."""
    parts = [f"## {name}\n\n```\n{text}\n```" for name, text in _pages("ragtune", root, None)]
    return "\n".join([_HEAD, *(part + "\n" for part in parts)])


def _pages(name: str, command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command, parent, info_name=name.rpartition(" ")[2], terminal_width=110, **command.context_settings
    )
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _pages(f"{name} {sub}", found, context)


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(page(), encoding="utf-8")
