"""`ragtune feedback`: what people thought of answers, and the examples it makes.

Works on the home directly, also beside a live server.
"""

import os
from pathlib import Path

import click

from ragtune.errors import InvalidRequest
from ragtune.feedback import Feedback, FeedbackLog
from ragtune.feedback_examples import exported
from ragtune.full_disk import full_disk_told
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, say

_DEFAULT = 50
_SHOWN = 60  # characters of a text in the table


@click.group()
def feedback() -> None:
    """What people thought of answers, as they told a service by POST /v1/feedback."""


@feedback.command("list")
@click.option("--limit", default=_DEFAULT, show_default=True, type=click.IntRange(1), help="Opinions at most.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Only opinions older than this one.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(limit: int, before: int | None, as_json: bool) -> None:
    """Opinions with what they are about, newest first.

    \b
    Example:  ragtune feedback list --limit 20
    """
    found = _log().newest(limit, before)
    if as_json:
        print_json(found)
    elif found:
        columns = ("number", "given", "by", "score", "mode", "question", "answer", "comment", "better")
        print_table(columns, [_row(each) for each in found])
    else:
        say("there is no feedback yet" if before is None else f"there is no feedback before number {before}")


@feedback.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--min-score", type=click.FloatRange(-1, 1), help="Only opinions with at least this score, -1 to 1.")
def export(file: Path, min_score: float | None) -> None:
    """Write FILE, JSON Lines of examples: the better answer if one was given, else the answer if it was found good.

    \b
    Example:  ragtune feedback export heldout.jsonl --min-score 0.5
    """
    made = exported(_log().all(), min_score)
    if not made.examples:
        raise InvalidRequest(
            f"no feedback says what would be right ({made.left_out} left out), so {file} is not written; an opinion "
            "needs a score over 0, or a better answer"
        )
    _write(file, made.lines)
    say(f"{file}: {len(made.examples)} examples; {made.left_out} opinions left out, which do not say what is right")


def _write(file: Path, lines: str) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with full_disk_told(file.parent):
            beside.write_text(lines, encoding="utf-8")
            beside.replace(file)
    except OSError as error:
        raise InvalidRequest(f"cannot write {file}: {error.strerror}", param="file") from error
    finally:
        beside.unlink(missing_ok=True)


def _row(each: Feedback) -> tuple[str, ...]:
    exchange = each.exchange
    cells = (each.number, each.given, each.author, f"{each.score:g}", exchange.resolved_mode)
    texts = (exchange.query, exchange.text, each.comment, each.answer or "")
    return (*(str(cell) or "-" for cell in cells), *(_short(told) or "-" for told in texts))


def _short(told: str) -> str:
    line = " ".join(told.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def _log() -> FeedbackLog:
    return FeedbackLog(Database(Settings.load().database))
