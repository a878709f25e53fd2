"""`ragtune audit`: who changed something, or tried to."""

import click

from ragtune.audit import AuditLog, Entry
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, say

_DEFAULT = 50


@click.command()
@click.option("--limit", default=_DEFAULT, show_default=True, type=click.IntRange(1), help="Entries at most.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Only entries older than this one.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def audit(limit: int, before: int | None, as_json: bool) -> None:
    """Show who changed keys, indexes, adapters and templates here, or was refused, newest first.

    \b
    Example:  ragtune audit --limit 20
              ragtune audit --before 1200
    """
    entries = AuditLog(Database(Settings.load().database)).newest(limit, before)
    if as_json:
        print_json(entries)
    elif entries:
        print_table(
            ("number", "time", "who", "key", "tenant", "what", "status", "request"), [_row(entry) for entry in entries]
        )
    else:
        say("nothing was changed yet" if before is None else f"nothing was changed before number {before}")


def _row(entry: Entry) -> tuple[str, ...]:
    what = entry.path if entry.method == "CLI" else f"{entry.method} {entry.path}"
    cells = (entry.number, entry.time, entry.who, entry.key, entry.tenant, what, entry.status, entry.request_id)
    return tuple("-" if cell in (None, "") else str(cell) for cell in cells)
