"""Who may be chosen on a task, and what is told about it as one family."""

from typing import Any

import pytest

from eval.gates import gates
from eval.html.evidence import evidence
from eval.html.scatter import scatter
from eval.ladder import controls, formats
from eval.notes import notes
from eval.report import report
from eval.runfile import Alone, Header, Item, Run, Trained
from eval.sample import Samples
from eval.suite import Suite
from eval.telling import telling
from tests.made_item import item


def suite(arms: list[dict[str, Any]], metrics: tuple[str, ...] = ("containment",), **fields: Any) -> Suite:
    tasks = [{"name": name, "examples": "a.jsonl", "metrics": metrics} for name in fields.pop("tasks", ["k"])]
    return Suite.model_validate({"name": "s", "tasks": tasks, "arms": arms} | fields)


def run_of(made: Suite, items: list[Item], **fields: Any) -> Run:
    header = Header(suite=made, url="u", server=None, data={}, started="today", seconds=1, ragtune="0", **fields)
    return Run(header, items)


def timed(arm: str, task: str, times: list[float]) -> list[Item]:
    return [item(arm, n, 1.0, total, task=task, alone=True) for n, total in enumerate(times)]


def test_times_are_those_of_the_task() -> None:
    items = timed("a", "k", [100, 110, 120]) + timed("a", "long", [900, 910])
    pooled = tuple(Alone(first_token_ms=total / 2, total_ms=total) for total in (900, 100, 910, 110, 120))
    (arm,) = report(run_of(suite([{"mode": "a"}], tasks=["k", "long"]), items, alone={"a": pooled})).arms
    short, long = arm.tasks["k"].cost.whole_alone, arm.tasks["long"].cost.whole_alone
    assert short is not None and (short.median, short.p95, short.n) == (110, 120, 3)
    assert long is not None and (long.median, long.n) == (905, 2)
    assert arm.cost.whole_alone is not None and arm.cost.whole_alone.n == 5


def test_a_verdict_on_one_task_is_not_swayed_by_the_times_of_another() -> None:
    """`fast` is fast where it is short and slow where it is long; on `k` only the former counts."""
    arms = [{"mode": "slow"}, {"mode": "fast"}]
    items = timed("slow", "k", [400.0] * 60) + timed("fast", "k", [100.0] * 60)
    items += timed("slow", "long", [500.0] * 60) + timed("fast", "long", [9000.0] * 60)
    first, second = report(run_of(suite(arms, tasks=["k", "long"], tolerance=5), items)).verdicts
    assert (first.chosen, second.chosen) == ("fast", "slow")


def test_an_arm_that_failed_most_questions_is_neither_best_nor_chosen_nor_leading() -> None:
    arms = [{"mode": "lucky"}, {"mode": "sound"}]
    items = [item("lucky", n, 1.0 if n < 10 else None) for n in range(100)]
    items += [item("sound", n, float(n % 10 > 2)) for n in range(100)]
    found = report(run_of(suite(arms), items))
    (verdict,) = found.verdicts
    assert (verdict.best, verdict.chosen, verdict.coverage) == ("sound", "sound", 0.1)
    assert verdict.excluded["lucky"] == "it has a score of 10 of its 100 questions, and 95 % are needed"
    assert [arm.tasks["k"].leading for arm in found.arms] == [False, True]


def test_an_arm_that_failed_everything_stands_in_the_verdict() -> None:
    items = [item("gone", n, None) for n in range(40)] + [item("sound", n, 1.0) for n in range(40)]
    (verdict,) = report(run_of(suite([{"mode": "gone"}, {"mode": "sound"}]), items)).verdicts
    assert verdict.coverage == 0 and verdict.chosen == "sound"
    assert "gone is left out: it has a score of none of its 40 questions, and 95 % are needed." in verdict.words


def test_a_failed_repeat_counts_in_the_coverage() -> None:
    made = suite([{"mode": "a"}], seeds=[0, 1], temperature=0.5)
    items = [item("a", n, 1.0) for n in range(10)] + [item("a", n, None if n else 1.0, repeat=1) for n in range(10)]
    found = report(run_of(made, items))
    assert found.arms[0].tasks["k"].coverage == 0.55 and found.verdicts[0].coverage == 0.55
    assert found.verdicts[0].chosen is None
    assert found.verdicts[0].words[0] == "No arm can be recommended: none has a score of enough questions."


def test_the_best_is_sought_on_the_examples_that_all_have_a_score_of() -> None:
    """`easy` has no score of three questions that it would have got wrong."""
    items = [item("easy", n, None if n < 3 else float(n % 5 > 0)) for n in range(100)]
    items += [item("whole", n, 0.0 if n < 3 else float(n % 5 > 0 or n == 50)) for n in range(100)]
    (verdict,) = report(run_of(suite([{"mode": "easy"}, {"mode": "whole"}]), items)).verdicts
    assert verdict.best == "whole"


def test_a_gate_does_not_pass_on_what_is_left_of_a_failed_run() -> None:
    made = suite([{"mode": "a"}], gates=[{"arm": "a", "task": "k", "least": 10}])
    (found,) = gates(made, Samples([item("a", n, 1.0 if n < 50 else None) for n in range(100)]))
    assert not found.passed and found.by is not None and found.by > 0
    assert found.reason == "it has a score of 50 of its 100 questions, and 95 % are needed"


def test_the_same_pair_is_told_the_same_wherever_it_stands() -> None:
    """Asked for, as a gap to the best, and in the verdict: one family, each pair once."""
    arms = [{"mode": name} for name in ("base", "rag", "lora")]
    asked = [{"task": "k", "metric": "containment", "arm": arm, "over": "rag"} for arm in ("base", "lora")]
    right = {"base": 52, "rag": 66, "lora": 60}
    items = [item(arm, (7 * n) % 100, float(n < right[arm])) for arm in right for n in range(100)]
    found = report(run_of(suite(arms, comparisons=asked), items))
    gaps = {each.asked.arm: each for each in found.gaps}
    for each in found.differences:
        assert each.p is not None and each.adjusted == gaps[each.asked.arm].adjusted
    assert sorted(each.adjusted or 0 for each in found.differences)[0] == pytest.approx(
        2 * min(each.p or 0 for each in found.differences)
    )


def test_ladders_and_formats_of_a_task_are_one_family() -> None:
    arms = [{"mode": "rag"}, {"mode": "rag", "label": "bare", "context": "none"}]
    arms += [{"mode": "rag", "label": "told", "instruction": "Be brief."}, {"mode": "my-lora+rag"}]
    right = {"rag": 60, "bare": 50, "told": 62, "my-lora+rag": 70}
    items = [item(arm, n, float(n < count)) for arm, count in right.items() for n in range(100)]
    found = controls(suite(arms), Samples(items))
    ((step,),) = (ladder.steps for ladder in found.ladders)
    (shape,) = found.formats
    each = [one for one in (step.compared, shape.gain, shape.by_format, shape.beyond) if one]
    assert len(each) == 4
    assert min(one.adjusted for one in each) == pytest.approx(4 * min(one.p for one in each))


def test_a_control_of_format_that_retrieves_another_number_of_passages_is_none() -> None:
    arms = [{"mode": "rag"}, {"mode": "rag", "label": "told", "instruction": "Be brief."}, {"mode": "my-lora+rag"}]
    items = [item(arm, n, 1.0) for arm in ("rag", "told", "my-lora+rag") for n in range(20)]
    assert len(formats(suite(arms), Samples(items))) == 1
    arms[2] = arms[2] | {"top_k": 8}
    assert formats(suite(arms), Samples(items)) == ()


def test_training_data_are_compared_by_their_whole_hash_and_audits_are_of_a_task() -> None:
    trained = {
        "a-lora": Trained(data="d" * 64),
        "b-lora": Trained(data="d" * 63 + "e"),
        "c-lora": Trained(data="f" * 64),
    }
    arms = [{"mode": "a-lora"}, {"mode": "b-lora"}, {"mode": "c-lora", "tasks": ["other"]}]
    items = [item(arm, n, 1.0, task=task) for arm in ("a-lora", "b-lora") for n in range(4) for task in ("k", "other")]
    items += [item("c-lora", n, 1.0, task="other") for n in range(4)]
    first, second = report(run_of(suite(arms, tasks=["k", "other"]), items, trained=trained)).audits
    data = {found.task: {each.name: each for each in found.aspects}["training data"] for found in (first, second)}
    assert data["k"].equal is False and "c-lora" not in data["k"].words and "c-lora" in data["other"].words


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget": {"updates": 4}}, "updates needs queries"),
        ({"budget": {"queries": 1000}}, "queries needs hourly_rate"),
    ],
)
def test_a_budget_that_would_be_ignored_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suite([{"mode": "a"}], **fields)


def test_outside_arms_alone_need_no_price_of_the_hour() -> None:
    outside = {"endpoint": "https://api.example.com/v1", "model": "m", "price_in": 1, "price_out": 1}
    assert suite([outside], budget={"queries": 1000}).budget.queries == 1000


def test_what_an_outside_arm_was_trained_for_is_not_known() -> None:
    made = suite([{"endpoint": "https://api.example.com/v1", "model": "m"}])
    (arm,) = report(run_of(made, [item("m", 0, 1.0)])).arms
    assert arm.training_seconds is arm.once.update_seconds is arm.once.artifact_bytes is None


def test_the_judge_is_checked_against_another_metric() -> None:
    made = suite([{"mode": "a"}], metrics=("containment", "judge"), judge={"model": "a"})
    items = [item("a", n, 1.0, scores={"containment": float(n < 5), "judge": float(n < 6)}) for n in range(10)]
    found = report(run_of(made, items))
    assert found.agreements[0].found is not None and found.agreements[0].found.halves == 0.9
    assert any(
        line.startswith("The judge of k and containment put 90 % of 10 answers into the same half")
        for line in notes(found)
    )


def test_more_seeds_and_more_questions_are_weighed_in_the_notes() -> None:
    made = suite([{"mode": "a"}], seeds=[0, 1], temperature=0.5)
    items = [item("a", n, float((n + repeat) % 3 > 0), repeat=repeat) for n in range(20) for repeat in (0, 1)]
    assert any("twice the questions 71 %." in line for line in notes(report(run_of(made, items))))


def test_where_lower_is_better_captions_order_and_marks_say_so() -> None:
    made = suite([{"mode": "a"}, {"mode": "b"}], metrics=("perplexity",))
    items = [item(arm, n, 1.0, scores={"perplexity": nats}) for arm, nats in (("a", 2.0), ("b", 1.0)) for n in range(5)]
    run = run_of(made, items)
    shown = evidence(telling(run, 1)[0])
    assert [each.arms for each in shown.answered] == [("b",), ("a",)] and {each.mark for each in shown.answered} == {""}
    chart = scatter(report(run), made.tasks[0])
    assert chart is not None and chart.better == "lower"


def test_macro_f1_of_equal_arms_is_a_tie_with_p_1() -> None:
    made = suite([{"mode": "a"}, {"mode": "b"}], metrics=("macro_f1",))
    labels = ("x", "y", "z")
    items = [
        item(arm, n, 1.0, predicted=labels[n % 2], answers=(labels[n % 3],), scores={"macro_f1": 1.0})
        for arm in ("a", "b")
        for n in range(60)
    ]
    (gap,) = report(run_of(made, items)).gaps
    assert gap.p == 1.0 and gap.difference is not None
    assert gap.difference.low == pytest.approx(-gap.difference.high) and gap.difference.low < 0
