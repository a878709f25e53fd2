"""Reports are a pure function of the run, and say what the figures leave out."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from eval.cost_tables import bills, costs, effort
from eval.report import Report, report
from eval.runfile import Alone, Header, Item, Reply, Run, RunWriter, Server, Trained, Used, read_run
from eval.show import markdown, show
from eval.suite import Suite
from eval.tables import differences, quality, summary
from eval.telling import telling
from ragtune.wire import Timings

SUITE = {
    "name": "demo",
    "tasks": [
        {"name": "knowledge", "examples": "a.jsonl", "metrics": ["containment", "token_f1"]},
        {"name": "extraction", "examples": "b.jsonl", "metrics": ["field_f1"]},
    ],
    "arms": [
        {"mode": "base"},
        {"mode": "rag"},
        {"mode": "my-lora@2+rag", "label": "tuned"},
        {"mode": "other-lora", "tasks": ["extraction"]},
    ],
    "comparisons": [
        {"task": "knowledge", "metric": "containment", "arm": "rag", "over": "base", "margin": 20},
        {"task": "knowledge", "metric": "containment", "arm": "tuned", "over": "rag", "margin": 20},
        {"task": "extraction", "metric": "field_f1", "arm": "other-lora", "over": "base", "margin": 40},
    ],
}


def item(arm: str, number: int, score: float | None, **fields: Any) -> Item:
    """A knowledge item, failed if it has no score."""
    reply = Reply(
        id="g",
        text=f"{arm} says [{number}]",
        finish_reason="length" if number == 5 else "stop",
        resolved_mode=arm,
        versions={} if arm == "base" else {"index": "handbook@1"},
        usage=Used(prompt_tokens=10 + number % 2, completion_tokens=2, cached_tokens=4),
        timings=Timings(first_token_ms=100),
    )
    known: dict[str, Any] = {
        "arm": arm,
        "task": "knowledge",
        "example": str(number),
        "query": f"question {number}",
        "answers": ("x",),
        "reply": None if score is None else reply,
        "error": "HTTP 504: too late" if score is None else None,
        "scores": {} if score is None else {"containment": score, "token_f1": score / 2, "abstention": 0.0},
    }
    return Item(**known | fields)


def unanswerable(arm: str, number: int, abstained: bool) -> Item:
    scores = {"abstention": float(abstained)}
    return item(arm, 200 + number, 0.0, slice="unanswerable", scores=scores)


def extraction(arm: str, number: int, score: float, parsable: bool = True) -> Item:
    return item(arm, number, score, task="extraction", scores={"field_f1": score}, unparsable=not parsable)


def all_items() -> list[Item]:
    items = [item("base", n, float(n % 10 == 0)) for n in range(100)]
    items += [item("rag", n, float(n % 4 > 0), gold_retrieved=n % 5 > 0) for n in range(99)] + [item("rag", 99, None)]
    items += [item("tuned", n, float(n % 4 > 0 or n == 0), gold_retrieved=n % 5 > 0) for n in range(100)]
    items += [unanswerable("rag", n, abstained=n < 3) for n in range(4)]
    items += [extraction(arm, n, 0.0, parsable=n > 1) for arm in ("base", "rag", "tuned") for n in range(50)]
    return items + [extraction("other-lora", n, 0.5 + n % 2 / 10) for n in range(50)]


def run_of(items: Sequence[Item], trained: float | None = 30.0, limited: bool = False) -> Run:
    part = [{"mode": "base", "label": "part", "tasks": ["knowledge"], "limits": {"knowledge": 30}}] if limited else []
    server = Server(base="tiny", note="made up", fingerprint="f", device="cpu", max_model_len=64)
    header = Header(
        suite=Suite.model_validate(SUITE | {"arms": SUITE["arms"] + part}),
        url="http://x",
        server=server,
        trained={"tuned": Trained(seconds=trained), "other-lora": Trained(seconds=12.5)},
        alone={"base": tuple(Alone(first_token_ms=first, total_ms=10 * first) for first in (10.0, 11.0, 12.0))},
        data={},
        started="today",
        seconds=3,
        ragtune="0",
    )
    return Run(header, items)


@pytest.fixture(scope="module")
def made() -> Report:
    return report(run_of(all_items()))


def shown(found: Report, width: int = 120, wide: bool = True, colours: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, force_terminal=colours)
    show(found, telling(run_of(all_items()), 2), console, wide=wide)
    return out.getvalue()


def test_a_failed_item_is_no_zero_and_is_counted(made: Report) -> None:
    rag = made.arms[1].tasks["knowledge"]
    assert rag.scores["containment"].n == 99 and rag.scores["containment"].mean == pytest.approx(74 / 99)
    assert (rag.failed, rag.answered, made.arms[1].failed) == (1, 99, 1)
    assert made.failures == {"HTTP 504: too late": 1}


def test_unanswerable_items_are_apart_and_abstaining_elsewhere_is_counted_against_the_arm(made: Report) -> None:
    rag = made.arms[1].tasks["knowledge"]
    assert rag.slices["unanswerable"].metric == "abstention"
    assert rag.slices["unanswerable"].score is not None and rag.slices["unanswerable"].score.mean == 0.75
    assert rag.abstained is not None and (rag.abstained.mean, rag.abstained.n) == (0, 99)


def test_unparsable_and_cut_off_answers_are_counted_apart_from_failures(made: Report) -> None:
    base = made.arms[0].tasks["extraction"]
    assert (base.unparsable, base.failed, base.scores["field_f1"].n, base.cut_off) == (2, 0, 50, 1)


def test_the_score_of_what_could_be_read_stands_beside_that_of_all(made: Report) -> None:
    base = made.arms[0].tasks["extraction"]
    assert base.where_parsable is not None and base.where_parsable.n == 48
    assert base.where_parsable.mean == pytest.approx(base.scores["field_f1"].mean * 50 / 48)
    assert made.arms[0].tasks["knowledge"].where_parsable is None
    columns = {" ".join(column.heading) for column in quality(made, made.header.suite.tasks[1]).columns}
    assert "where parsable" in columns


def test_retrieval_is_told_only_of_arms_that_retrieve(made: Report) -> None:
    base, rag, *_ = made.arms
    found = rag.tasks["knowledge"].gold_retrieved
    assert found is not None and found.mean == pytest.approx(79 / 99)
    assert base.tasks["knowledge"].gold_retrieved is None


def test_times_of_requests_alone_and_together_are_not_mixed(made: Report) -> None:
    cost, alone = made.arms[0].cost, made.arms[0].cost.first_alone
    assert alone is not None and (alone.median, alone.p95, alone.n) == (11, 12, 3)
    assert made.arms[1].cost.first_alone is None
    assert cost.first_loaded is not None and cost.first_loaded.median == 100
    assert (cost.prompt_tokens, cost.cached_tokens) == (10.5, 4)


def test_an_arm_that_was_asked_a_part_says_so_and_is_no_candidate_for_the_best() -> None:
    found = report(run_of([*all_items(), *(item("part", n, 1.0) for n in range(30))], limited=True))
    assert not found.arms[-1].tasks["knowledge"].leading
    assert "100 [88, 100] n = 30" in shown(found, wide=False)


def test_training_is_unknown_where_it_is_not_recorded_and_nothing_for_a_mode_without_adapters() -> None:
    seconds = [arm.training_seconds for arm in report(run_of(all_items())).arms]
    assert seconds == [0, 0, 30, 12.5]
    assert report(run_of(all_items(), trained=None)).arms[2].training_seconds is None


def test_a_difference_is_taken_on_shared_items_and_judged_by_its_lower_bound(made: Report) -> None:
    over_base, over_rag, on_extraction = made.differences
    assert over_base.difference is not None and (over_base.difference.n, over_base.left_out) == (99, 1)
    assert (over_base.reached, over_base.verdict) == (True, "reached")
    assert (over_rag.reached, over_rag.verdict) == (False, "tie")
    assert on_extraction.reached


@pytest.mark.parametrize(
    ("arm", "over", "verdict"),
    [
        ([1.0, 0.0] * 50, [0.5, 0.5] * 50, "tie"),
        ([0.1] * 100, [0.0] * 100, "better, by less"),
        ([1.0] * 20 + [0.0] * 80, [0.0] * 100, "better, margin uncertain"),
        ([0.0] * 100, [0.1] * 100, "worse"),
        ([0.9] * 100, [0.0] * 100, "reached"),
        ([0.05] * 100, [0.0] * 100, "better, by less"),
        ([], [0.2], "no item answered by both"),
    ],
)
def test_a_verdict_says_what_the_interval_supports(arm: list[float], over: list[float], verdict: str) -> None:
    items = [item("rag", n, score) for n, score in enumerate(arm)]
    items += [item("base", n, score) for n, score in enumerate(over)]
    assert report(run_of(items)).differences[0].verdict == verdict


def test_the_best_and_what_is_not_told_apart_from_it_lead(made: Report) -> None:
    assert [arm.tasks["knowledge"].leading for arm in made.arms if "knowledge" in arm.tasks] == [False, True, True]
    assert [arm.tasks["extraction"].leading for arm in made.arms] == [False, False, False, True]


def test_a_version_that_changed_meanwhile_is_pointed_out() -> None:
    items = all_items()
    reply = items[150].reply
    assert items[150].arm == "rag" and reply is not None
    items[150] = items[150].model_copy(update={"reply": reply.model_copy(update={"versions": {"index": "handbook@2"}})})
    assert "Beware: rag was answered by several versions: handbook@1, handbook@2." in shown(report(run_of(items)))


def test_the_report_is_a_pure_function_of_the_run_file(made: Report) -> None:
    again = report(run_of(all_items()))
    assert again == made
    assert markdown(again, telling(run_of(all_items()), 3)) == markdown(made, telling(run_of(all_items()), 3))


def test_a_run_is_read_as_it_was_written(tmp_path: Any) -> None:
    written = run_of(all_items())
    writer = RunWriter(tmp_path)
    writer.begin(written.header)
    for each in written.items:
        writer.write(each)
    writer.publish(written.header, [each.place for each in written.items])
    assert read_run(tmp_path) == written


def test_telling_examples_are_those_on_which_the_arms_differ_most_tasks_in_turn() -> None:
    found = telling(run_of(all_items()), 3)
    assert [showcase.task for showcase in found] == ["knowledge", "extraction", "knowledge"]
    assert [said.arm for said in found[0].said] == ["base", "rag", "tuned"]
    assert sorted(said.score for said in found[0].said) in ([0, 0, 1], [0, 1, 1])
    assert telling(run_of(all_items()), 0) == []


def test_every_column_of_every_table_has_a_cell_for_every_row(made: Report) -> None:
    for table in (
        summary(made),
        *(quality(made, task) for task in made.tasks),
        costs(made),
        bills(made),
        effort(made),
        differences(made.differences),
    ):
        assert len({len(column.cells) for column in table.columns}) == 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_figure_is_cut_off_in_a_narrow_terminal(made: Report, width: int) -> None:
    text = shown(made, width)
    for part in ("75 [65, 82]", "75 / 0 %", "12 s", "10 (4)", "+64.6", "tie", "rag says", "1 / 2"):
        assert part in text, part
    assert "…" not in text


def test_square_brackets_of_answers_are_no_markup(made: Report) -> None:
    assert "base says [1]" in shown(made, colours=True)


def test_markdown_has_tables_with_the_same_figures_and_nothing_of_an_answer_becomes_markup(made: Report) -> None:
    first = telling(run_of(all_items()), 1)[0]
    said = first.said[0].model_copy(update={"text": "a | b `c` <b> *d* [e](http://f)\nnext"})
    text = markdown(made, [first.model_copy(update={"said": (said,)})])
    assert "| rag | **75** [65, 82] |" in text
    assert r"a \| b \`c\` \<b> \*d\* [e]\(http://f) next |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
