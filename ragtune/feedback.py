"""Feedback: what somebody thought of an answer, and of it alone the exchange is written down.

An answer that nobody judges leaves nothing here. Who judges one again replaces what he said; that he judged, and with
which score, stays in the audit log each time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping, text

from ragtune import audit
from ragtune.audit import Entry
from ragtune.prompt import Message
from ragtune.store import Database

_MOST = 2**63 - 1  # SQLite has no larger number
_AT_ONCE = 500  # rows read in one transaction


class Exchange(BaseModel):
    """A question and what was answered. `documents` are those of the passages, each once, in order of their numbers;
    `choice` is the answer's place among those of its request."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="of the answer")
    request_id: str
    choice: int = 0
    time: str = Field(description="of the answer, UTC")
    tenant: str = ""
    mode: str = Field(description="as it was asked for")
    resolved_mode: str
    versions: dict[str, str]
    history: tuple[Message, ...] = Field(default=(), description="the conversation before the question")
    query: str
    text: str = Field(description="the answer that was given")
    documents: tuple[str, ...] = ()
    abstained: bool = Field(default=False, description="whether no passage was found, and that was the answer")


class Opinion(BaseModel):
    """What somebody thought of it: -1 is bad, 1 is good; `answer` is a better one."""

    model_config = ConfigDict(frozen=True)

    score: float
    comment: str = ""
    answer: str | None = None


class Feedback(BaseModel):
    """An opinion, and the exchange it is about."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "number": 12,
                    "given": "2026-07-01T12:03:00.000+00:00",
                    "author": "portal",
                    "score": -1.0,
                    "comment": "that was last year's",
                    "answer": "26 months.",
                    "exchange": {
                        "id": "gen-4f2a",
                        "request_id": "req-91c0",
                        "time": "2026-07-01T12:02:11.000+00:00",
                        "mode": "rag",
                        "resolved_mode": "rag:handbook@3",
                        "versions": {"index": "handbook@3"},
                        "query": "How long is the warranty?",
                        "text": "14 months.",
                        "documents": ["warranty-2025.md"],
                    },
                }
            ]
        },
    )

    number: int = Field(description="counts up; what `before` takes to go further back")
    given: str = Field(description="when, UTC")
    author: str = Field(description="the name of the key that gave it, `local` where there are none")
    score: float
    comment: str
    answer: str | None
    exchange: Exchange


class FeedbackLog:
    """All feedback of one home. Safe to use from several processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, exchange: Exchange, opinion: Opinion, by: Entry) -> Feedback:
        """Write down the opinion and the exchange, in the place of an earlier opinion, and `by` in the audit log: both
        or neither. Raises StorageFull."""
        row = opinion.model_dump() | {
            "id": exchange.id,
            "tenant": exchange.tenant,
            "given": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "author": by.who or "",
            "exchange": exchange.model_dump_json(exclude_defaults=True),
        }
        with self._database.write() as connection:
            connection.execute(text("DELETE FROM feedback WHERE id = :id"), row)
            added = connection.execute(
                text(
                    """INSERT INTO feedback (id, tenant, given, author, score, comment, answer, exchange)
                       VALUES (:id, :tenant, :given, :author, :score, :comment, :answer, :exchange) RETURNING number"""
                ),
                row,
            )
            number = int(added.scalar_one())
            audit.append(connection, by)
        return _feedback({**row, "number": number})

    def judged(self, answer: str, tenant: str) -> Exchange | None:
        """The exchange whose answer has this id, if it was given to this tenant and is judged already."""
        with self._database.read() as connection:
            query = text("SELECT exchange FROM feedback WHERE id = :id AND tenant = :tenant")
            found = connection.execute(query, {"id": answer, "tenant": tenant}).scalar()
        return None if found is None else Exchange.model_validate_json(found)

    def newest(self, limit: int, before: int | None = None, tenant: str = "") -> list[Feedback]:
        """Up to `limit`, newest first: of all, or of those before the one with the number `before`; with a tenant, of
        its own."""
        with self._database.read() as connection:
            query = """SELECT * FROM feedback WHERE number < coalesce(:before, number + 1)
                       AND (:tenant = '' OR tenant = :tenant) ORDER BY number DESC LIMIT :limit"""
            asked = {"limit": min(limit, _MOST), "before": None if before is None else min(before, _MOST)}
            rows = connection.execute(text(query), asked | {"tenant": tenant}).mappings().all()
        return [_feedback(row) for row in rows]

    def all(self, tenant: str = "") -> Iterator[Feedback]:
        """Everything, newest first; with a tenant, its own."""
        before: int | None = None
        while page := self.newest(_AT_ONCE, before, tenant):
            yield from page
            before = page[-1].number


def _feedback(row: RowMapping | dict[str, object]) -> Feedback:
    fields = {name: row[name] for name in Feedback.model_fields if name != "exchange"}
    return Feedback.model_validate(fields | {"exchange": Exchange.model_validate_json(str(row["exchange"]))})
