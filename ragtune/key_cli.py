"""`ragtune key`: create, list and revoke API keys.

Works on the home directly, also beside a live server, which looks a request's key up in the same database: what is
created or revoked here counts from the next request on.
"""

import click

from ragtune.audit import AuditLog, append, command
from ragtune.keys import SCOPES, Key, Keys, add
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, say


@click.group()
def key() -> None:
    """API keys: who may do what over HTTP."""


@key.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    metavar="SCOPE",
    help=f"What it may do, several times if need be: {', '.join(SCOPES)}. admin is everything.",
)
@click.option("--tenant", default="", metavar="NAME", help="Whose requests share a prefix cache with its own.")
@click.option("--json", "as_json", is_flag=True, help="Print the key with what is known of it as JSON.")
def create(name: str, scopes: tuple[str, ...], tenant: str, as_json: bool) -> None:
    """Make a key for NAME and print it on stdout, this once: only its hash is kept.

    The first key that is ever made closes the service to everyone who has none.

    \b
    Example:
      ragtune key create support-app --scope query
    """
    database = Database(Settings.load().database)
    with database.write() as connection:  # a key that the audit log does not know is none, and is not shown
        made, text = add(connection, name, scopes, tenant)
        words = (made.id, made.name, *made.scopes, *([f"tenant={tenant}"] if tenant else []))
        append(connection, command("key create", *words))
    if as_json:
        print_json(made.model_dump() | {"key": text})
    else:
        click.echo(text)
    say(f"key {made.id} for {made.name}: {', '.join(made.scopes)}. It is not shown again; clients send it as")
    say("Authorization: Bearer KEY (OpenAI's clients: api_key), ragtune's own commands take it from RAGTUNE_API_KEY")


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(as_json: bool) -> None:
    """Every key that was ever made, without the keys themselves.

    \b
    Example:
      ragtune key list
    """
    known = Keys(Database(Settings.load().database)).known()
    if as_json:
        print_json(known)
    elif known:
        columns = ("id", "name", "scopes", "tenant", "created", "revoked")
        print_table(columns, [_row(each) for each in known])
    else:
        say("no key was ever made; make one with: ragtune key create NAME --scope query")


@key.command()
@click.argument("name_or_id")
def revoke(name_or_id: str) -> None:
    """Revoke the key NAME_OR_ID; it is refused from the next request on.

    \b
    Example:
      ragtune key revoke support-app
    """
    database = Database(Settings.load().database)
    gone = Keys(database).revoke(name_or_id)
    AuditLog(database).command("key revoke", gone.id, gone.name)
    say(f"revoked {gone.id} of {gone.name}")


def _row(known: Key) -> tuple[str, ...]:
    scopes = ", ".join(known.scopes)
    return (known.id, known.name, scopes, known.tenant or "-", known.created, known.revoked or "-")
