"""The ladder, the control of format, the audit of efforts and the gates."""

from typing import Any

import pytest

from eval.gates import gates
from eval.ladder import formats, ladders
from eval.notes import notes
from eval.report import report
from eval.runfile import Header, Item, Run, Trained
from eval.sample import Samples
from eval.sentences import format_words, ladder_words
from eval.suite import Gate, Suite
from tests.made_item import item


def suite(arms: list[dict[str, Any]], **fields: Any) -> Suite:
    task = {"name": "k", "examples": "a.jsonl", "metrics": ["containment"]}
    return Suite.model_validate({"name": "s", "tasks": [task], "arms": arms} | fields)


LADDER = [
    {"mode": "rag"},
    {"mode": "rag", "label": "bare", "context": "none"},
    {"mode": "rag", "label": "gold", "context": "gold"},
    {"mode": "rag", "label": "wrong", "context": "wrong"},
]


def ladder_items() -> list[Item]:
    """Of 100: 60 right as retrieved, 25 lost by the retriever (15 without the document), 15 by the reader."""
    found = [item("rag", n, float(n < 60), gold_retrieved=n < 70) for n in range(100)]
    found += [item("gold", n, float(n < 85)) for n in range(100)]
    found += [item("bare", n, float(n < 20)) for n in range(100)]
    return found + [item("wrong", n, float(n < 5)) for n in range(100)]


def test_an_error_is_the_retrievers_if_the_gold_passages_would_have_helped_and_else_the_readers() -> None:
    (ladder,) = ladders(suite(LADDER), Samples(ladder_items()))
    assert ladder.errors is not None
    assert ladder.errors.n == 100 and ladder.errors.not_found == 15
    assert ladder.errors.right.mean == pytest.approx(0.6)
    assert ladder.errors.retriever.mean == pytest.approx(0.25)
    assert ladder.errors.reader.mean == pytest.approx(0.15)
    assert [rung.context for rung in ladder.rungs] == ["none", "retrieved", "gold", "wrong"]


def test_a_ladder_says_in_words_whether_wrong_passages_hurt() -> None:
    (ladder,) = ladders(suite(LADDER), Samples(ladder_items()))
    words = ladder_words(ladder)
    assert words[0].startswith("Of 100 questions 60 are right as retrieved, 25 are lost by retrieval (")
    assert "15 of them without the gold document" in words[0]
    assert any(
        line.startswith("Passages that do not hold the answer hurt: wrong against none -15.0 [") for line in words
    )
    assert any(line.startswith("Retrieval helps: retrieved against none +40.0 [") for line in words)


def test_modes_with_one_context_make_no_ladder() -> None:
    assert ladders(suite([{"mode": "rag"}, {"mode": "base"}]), Samples([])) == ()


def test_controls_are_no_candidates_for_the_best() -> None:
    found = report(run_of(LADDER, ladder_items()))
    assert [arm.tasks["k"].leading for arm in found.arms] == [True, False, False, False]
    assert found.gaps == () and found.verdicts[0].chosen == "rag"


FORMAT = [{"mode": "base"}, {"mode": "base", "label": "told", "instruction": "Be brief."}, {"mode": "my-lora"}]


def format_items(tuned: int, told: int) -> list[Item]:
    rights = {"base": 10, "told": told, "my-lora": tuned}
    return [item(arm, n, float(n < right)) for arm, right in rights.items() for n in range(100)]


def test_a_gain_that_an_instruction_brings_too_may_be_all_format() -> None:
    (found,) = formats(suite(FORMAT), Samples(format_items(tuned=60, told=60)))
    assert found.gain is not None and found.gain.difference.mean == pytest.approx(0.5)
    assert format_words(found).endswith("so the gain may be all format.")


def test_a_gain_beyond_the_instruction_is_more_than_format() -> None:
    (found,) = formats(suite(FORMAT), Samples(format_items(tuned=60, told=20)))
    assert format_words(found).endswith("so the gain is more than format (about 20 % of it is).")


def run_of(arms: list[dict[str, Any]], items: list[Item], **fields: Any) -> Run:
    trained = fields.pop("trained", {})
    made = suite(arms, **fields)
    header = Header(suite=made, url="u", server=None, trained=trained, data={}, started="today", seconds=1, ragtune="0")
    return Run(header, items)


def test_the_audit_names_what_was_not_equal_and_what_is_not_recorded() -> None:
    arms = [{"mode": "a-lora"}, {"mode": "b-lora"}]
    trained = {
        "a-lora": Trained(steps=100, rates=3, examples=480, data="d" * 64),
        "b-lora": Trained(steps=200, examples=480, data="d" * 64),
    }
    items = [item(arm, n, 1.0, retries=int(arm == "b-lora" and n == 0)) for arm in trained for n in range(4)]
    (audit,) = report(run_of(arms, items, trained=trained)).audits
    found = {aspect.name: aspect for aspect in audit.aspects}
    assert (found["optimiser steps"].equal, found["optimiser steps"].words) == (False, "100: a-lora; 200: b-lora")
    assert (found["training examples"].equal, found["training examples"].words) == (True, "480")
    assert found["learning rates searched"].equal is None
    assert "not recorded: b-lora" in found["learning rates searched"].words
    assert (found["requests repeated"].equal, found["questions asked"].equal) == (False, True)


def gate(**fields: Any) -> dict[str, Any]:
    return {"arm": "base", "task": "k", "least": 50} | fields


def test_a_gate_holds_the_lower_bound_and_says_by_how_much() -> None:
    made = suite([{"mode": "base"}], gates=[gate(), gate(least=75)])
    passed, failed = gates(made, Samples([item("base", n, float(n < 80)) for n in range(100)]))
    assert passed.passed and passed.found is not None
    assert passed.by == pytest.approx(100 * passed.found.low - 50)
    assert not failed.passed and failed.by is not None and -10 < failed.by < 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"arm": "bass"}, "unknown arm 'bass'; did you mean 'base'?"),
        ({"task": "kk"}, "unknown task 'kk'; did you mean 'k'?"),
        ({"metric": "containmnt"}, "unknown metric 'containmnt'; did you mean 'containment'?"),
        ({"slice": "hard"}, "unknown slice 'hard'"),
        ({"metric": "perplexity"}, "perplexity is no share of 100 points that is better when higher"),
        ({"metric": "token_f1"}, "no item has a score"),
    ],
)
def test_a_gate_on_what_is_unknown_or_was_not_measured_fails(fields: dict[str, Any], reason: str) -> None:
    made = suite([{"mode": "base"}]).model_copy(update={"gates": (Gate.model_validate(gate(**fields)),)})
    (found,) = gates(made, Samples([item("base", 0, 1.0)]))
    assert not found.passed and found.reason is not None and found.reason.startswith(reason)


def test_times_of_requests_that_ran_alone_or_in_an_earlier_run_are_not_of_the_load() -> None:
    items = [item("rag", 0, 1.0), item("rag", 1, 1.0, alone=True), item("rag", 2, 1.0, reused=True)]
    (arm,) = report(run_of([{"mode": "rag"}], items)).arms
    assert arm.cost.first_loaded is not None and arm.cost.first_loaded.n == 1
    assert arm.cost.prompt_tokens == 10


def test_the_notes_say_what_was_not_asked_and_how_much_the_knowledge_base_can_tell() -> None:
    run = run_of([{"mode": "rag"}], [item("rag", 0, 1.0)])
    header = run.header.model_copy(update={"left_out": {"gold": 3}, "known": {"handbook": {"k": 0.9}}})
    told = notes(report(Run(header, run.items)))
    assert "Not asked, as the example names nothing that holds the answer: gold: 3." in told
    assert "An accepted answer stands in the index handbook for at least 90 % of the questions of k." in told
