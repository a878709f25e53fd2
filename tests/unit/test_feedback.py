"""Opinions on answers: written down when they are given, replaced, told apart by tenant, and made into examples."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ragtune.audit import AuditLog, Entry
from ragtune.errors import InvalidRequest
from ragtune.examples import read_examples
from ragtune.feedback import Exchange, Feedback, FeedbackLog, Opinion
from ragtune.feedback_cli import feedback
from ragtune.feedback_examples import exported
from ragtune.prompt import Message
from ragtune.store import Database
from service.exchanges import Exchanges

BY = Entry(who="portal", method="POST", path="/v1/feedback/gen-1?score=1", status=200)


def exchange(id: str = "gen-1", **fields: object) -> Exchange:  # noqa: A002
    known = {"request_id": "req-1", "time": "2026-01-01", "mode": "rag", "resolved_mode": "rag:handbook@1"}
    told = {"versions": {"index": "handbook@1"}, "query": "How long?", "text": "14 months."}
    return Exchange.model_validate({"id": id, **known, **told, **fields})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "ragtune.db")


@pytest.fixture
def log(database: Database) -> FeedbackLog:
    return FeedbackLog(database)


def test_an_opinion_is_kept_with_its_whole_exchange_and_stands_in_the_audit_log(
    database: Database, log: FeedbackLog
) -> None:
    asked = exchange(history=(Message(role="user", content="Hello"),), documents=("a.md",), abstained=True, choice=2)
    made = log.give(asked, Opinion(score=-0.5, comment="old", answer="26 months."), BY)
    assert FeedbackLog(Database(database.path)).newest(9) == [made]
    assert (made.exchange, made.author, made.score, made.comment, made.answer) == (
        *(asked, "portal", -0.5, "old", "26 months."),
    )
    assert [entry.path for entry in AuditLog(database).newest(9)] == ["/v1/feedback/gen-1?score=1"]


def test_a_second_opinion_replaces_the_first_and_is_the_newest(database: Database, log: FeedbackLog) -> None:
    log.give(exchange(), Opinion(score=1, answer="x"), BY)
    log.give(exchange("gen-2"), Opinion(score=0), BY)
    log.give(exchange(), Opinion(score=-1), BY.model_copy(update={"path": "/v1/feedback/gen-1?score=-1"}))
    assert [(each.exchange.id, each.score, each.answer) for each in log.newest(9)] == [
        ("gen-1", -1, None),
        ("gen-2", 0, None),
    ]
    assert len(AuditLog(database).newest(9)) == 3


def test_a_tenant_sees_and_finds_its_own_and_whoever_has_none_sees_all(log: FeedbackLog) -> None:
    for owner in ("", "ada", "bob"):
        log.give(exchange(f"gen-{owner}", tenant=owner), Opinion(score=1), BY)
    assert [each.exchange.tenant for each in log.newest(9, tenant="ada")] == ["ada"]
    assert [each.exchange.tenant for each in log.newest(9)] == ["bob", "ada", ""]
    assert log.judged("gen-ada", "ada") is not None
    assert log.judged("gen-ada", "bob") is None and log.judged("gen-ada", "") is None


def test_a_list_is_read_on_from_where_it_ended_and_all_of_it_at_once(log: FeedbackLog) -> None:
    for number in range(7):
        log.give(exchange(f"gen-{number}"), Opinion(score=1), BY)
    first = log.newest(3)
    assert [each.exchange.id for each in log.newest(3, first[-1].number)] == ["gen-3", "gen-2", "gen-1"]
    assert [each.exchange.id for each in log.all()] == [f"gen-{number}" for number in reversed(range(7))]


def opinion(score: float, answer: str | None = None, **fields: object) -> Feedback:
    return Feedback(number=1, given="", author="", score=score, comment="", answer=answer, exchange=exchange(**fields))


@pytest.mark.parametrize(
    ("given", "answers", "slice"),
    [
        (opinion(1), ("14 months.",), ""),
        (opinion(0.1), ("14 months.",), ""),
        (opinion(0), None, ""),
        (opinion(-1), None, ""),
        (opinion(-1, "26 months."), ("26 months.",), ""),
        (opinion(1, "26 months."), ("26 months.",), ""),
        (opinion(1, text=" "), None, ""),
        (opinion(1, query="\n"), None, ""),
        (opinion(1, abstained=True), ("14 months.",), "unanswerable"),
        (opinion(1, "26 months.", abstained=True), ("26 months.",), ""),
        (opinion(-1, abstained=True), None, ""),
    ],
)
def test_an_example_is_made_of_what_is_said_to_be_right(
    given: Feedback,
    answers: tuple[str, ...] | None,
    slice: str,  # noqa: A002
) -> None:
    made = exported([given])
    assert made.left_out == (answers is None)
    assert [(each.id, each.answers, each.slice) for each in made.examples] == (
        [] if answers is None else [("gen-1", answers, slice)]
    )


def test_opinions_below_a_minimum_score_are_left_out_and_counted() -> None:
    opinions = [opinion(score, "better") for score in (-1, 0.2, 0.5, 1)]
    assert (len(exported(opinions, 0.5).examples), exported(opinions, 0.5).left_out) == (2, 2)


@given(texts=st.lists(st.text(min_size=1).filter(str.strip), max_size=6))
def test_what_is_exported_is_read_again_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    opinions = [opinion(1, told, id=f"gen-{place}", query=told[::-1]) for place, told in enumerate(texts)]
    made = exported(opinions)
    file = tmp_path_factory.mktemp("exported") / "heldout.jsonl"
    file.write_text(made.lines, encoding="utf-8", newline="")
    if texts:
        assert read_examples(file) == made.examples and len(made.examples) == len(texts)
    else:
        assert made.lines == ""


def test_the_window_forgets_the_oldest_and_keeps_nothing_where_it_is_closed() -> None:
    window = Exchanges(2)
    window.keep([exchange(f"gen-{number}") for number in range(3)])
    assert window.answer("gen-0", "") is None and window.answer("gen-2", "") is not None
    closed = Exchanges(0)
    closed.keep([exchange()])
    assert closed.answer("gen-1", "") is None


def test_a_request_id_that_is_used_again_means_the_last_request() -> None:
    window = Exchanges(9)
    window.keep([exchange("gen-1", choice=0), exchange("gen-2", choice=1)])
    window.keep([exchange("gen-3", tenant="ada")])
    window.keep([exchange("gen-4", choice=0), exchange("gen-5", choice=1)])
    assert [each.id for each in window.request("req-1", "")] == ["gen-4", "gen-5"]
    assert [each.id for each in window.request("req-1", "ada")] == ["gen-3"]
    assert window.request("req-2", "") == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGTUNE_HOME", str(tmp_path))
    return tmp_path


def test_the_command_lists_and_exports(home: Path, log: FeedbackLog) -> None:
    runner = CliRunner()
    assert "no feedback yet" in runner.invoke(feedback, ["list"], catch_exceptions=False).output
    log.give(exchange(), Opinion(score=-1, answer="26 months."), BY)
    log.give(exchange("gen-2"), Opinion(score=-1), BY)
    listed = json.loads(runner.invoke(feedback, ["list", "--json"], catch_exceptions=False).stdout)
    assert [each["exchange"]["id"] for each in listed] == ["gen-2", "gen-1"]
    assert "26 months." in runner.invoke(feedback, ["list"], catch_exceptions=False).stdout
    file = home / "heldout.jsonl"
    done = runner.invoke(feedback, ["export", str(file)], catch_exceptions=False)
    assert "1 examples; 1 opinions left out" in done.output
    assert [(each.id, each.answers) for each in read_examples(file)] == [("gen-1", ("26 months.",))]


def test_an_export_without_an_example_leaves_the_file_as_it_was(home: Path, log: FeedbackLog) -> None:
    log.give(exchange(), Opinion(score=-1), BY)
    file = home / "heldout.jsonl"
    file.write_text("kept")
    with pytest.raises(InvalidRequest, match="1 left out"):
        CliRunner().invoke(feedback, ["export", str(file)], catch_exceptions=False)
    with pytest.raises(InvalidRequest, match="cannot write"):
        log.give(exchange(), Opinion(score=1), BY)
        CliRunner().invoke(feedback, ["export", str(home / "nowhere" / "x.jsonl")], catch_exceptions=False)
    assert file.read_text() == "kept"
