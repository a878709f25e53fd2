"""The command `ragtune`: finds its sub-commands by entry point and is the border where errors become exit codes.

0 is success, 1 a failure that the message explains, 2 misuse of the command line, 130 an interrupt. The packages above
this one add commands through the entry point group `ragtune.commands`; a command's module is imported only when it is
used.
"""

import sys
from importlib.metadata import EntryPoint, entry_points, version

import click

from ragtune.errors import Cancelled, RagtuneError, UnknownName
from ragtune.terminal import printable

GROUP = "ragtune.commands"


class Commands(click.Group):
    """A click group whose commands are entry points, loaded on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, sorted."""
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command itself; imports its module."""
        point = self._found().get(cmd_name)
        if point is None:
            return None
        command: click.Command = point.load()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a misspelt command is told which ones are near."""
        if args[0] not in self._found() and not args[0].startswith("-"):
            ctx.fail(UnknownName.among("command", args[0], self._found()).message)
        return super().resolve_command(ctx, args)

    def _found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("ragtune"), prog_name="ragtune")
def root() -> None:
    """Prompt, retrieval, LoRA, soft prompt or fine-tune: one service, one base model, a mode per request.

    Settings come from RAGTUNE_... environment variables or the TOML file named by RAGTUNE_CONFIG;
    `ragtune doctor` shows them all with what was found on this machine.
    """


def main() -> None:
    """Entry point of the console script; always ends the process."""
    try:
        code = root(standalone_mode=False)  # with it, click would end an interrupted command with 1 itself
    except (RagtuneError, Cancelled) as error:
        click.echo(printable(f"error: {error.message}"), err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
