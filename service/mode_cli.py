"""`ragtune mode`: names like `best` that mean a whole mode.

Where the mode must be looked at, a live server does it; without one it is done here, which loads more.
"""

from typing import TYPE_CHECKING

import click

from ragtune.audit import AuditLog
from ragtune.mode import check_name
from ragtune.mode_aliases import ModeAlias, ModeAliases
from ragtune.remote import ask_server
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import person, print_json, print_table, say

if TYPE_CHECKING:
    from service.catalog import Catalog

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def mode() -> None:
    """Aliases for whole modes, asked for as any mode is."""


@mode.command()
@click.argument("name")
@click.argument("meaning", metavar="MODE")
@_as_json
def alias(name: str, meaning: str, as_json: bool) -> None:
    """Let NAME mean MODE, which must be one that can be had now.

    \b
    Example:  ragtune mode alias best support-lora@2+rag

    A running service follows with the next request. A part without a version goes on meaning the current one.
    """
    check_name(name, "alias")
    settings = Settings.load()
    if ask_server(settings, "PUT", f"/v1/modes/{name}", {"mode": meaning}) is None:
        _catalog(settings).set_alias(name, meaning, person())
        _audited(settings, "mode alias", name, meaning)
    _tell(_aliases(settings).get(name), as_json)


@mode.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """All aliases, and the modes they mean.

    \b
    Example:  ragtune mode list
    """
    aliases = _aliases(Settings.load()).all()
    if as_json:
        print_json([_summary(alias) for alias in aliases])
    elif aliases:
        print_table(("alias", "mode", "since", "by"), [(a.name, a.mode, a.moved, a.author) for a in aliases])
    else:
        say("no alias for a mode yet; set one with: ragtune mode alias NAME MODE")


@mode.command()
@click.argument("name")
@_as_json
def rollback(name: str, as_json: bool) -> None:
    """Let NAME mean again the mode it meant before; again goes further back.

    \b
    Example:  ragtune mode rollback best
    """
    check_name(name, "alias")
    settings = Settings.load()
    if ask_server(settings, "POST", f"/v1/modes/{name}/rollback", {}) is None:
        _catalog(settings).rollback_alias(name)
        _audited(settings, "mode rollback", name)
    _tell(_aliases(settings).get(name), as_json)


@mode.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take the alias NAME away; what it meant stays.

    \b
    Example:  ragtune mode remove best
    """
    settings = Settings.load()
    gone = _aliases(settings).remove(name)
    _audited(settings, "mode remove", name)
    say(f"removed {gone.name}, which meant {gone.mode}")


def _audited(settings: Settings, *words: str) -> None:
    """Write down what this command changed by itself; what a server changed, that wrote down."""
    AuditLog(Database(settings.database)).command(*words)


def _aliases(settings: Settings) -> ModeAliases:
    return ModeAliases(Database(settings.database))


def _catalog(settings: Settings) -> "Catalog":
    from adapters.base_model import locate_base_model  # these bring transformers; the other commands do without
    from adapters.registry import Adapters
    from indexer.store import Indexes
    from ragtune.templates import Templates
    from service.catalog import Catalog

    database, base = Database(settings.database), locate_base_model(settings)
    adapters = Adapters(settings.home, database, base, roots=None)
    indexes, templates = Indexes(settings.home, database), Templates(settings.home, database)
    return Catalog(base, adapters, indexes, templates, ModeAliases(database), settings)


def _summary(alias: ModeAlias) -> dict[str, object]:
    return {"alias": alias.name, "mode": alias.mode, "moved": alias.moved, "author": alias.author}


def _tell(alias: ModeAlias, as_json: bool) -> None:
    if as_json:
        print_json(_summary(alias))
    else:
        say(f"{alias.name} now means {alias.mode}")
