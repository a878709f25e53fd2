"""Two runs side by side."""

from eval.across import across
from eval.runfile import Run
from eval.sentences import change_lines
from tests.sample_run import sample_run


def improved(run: Run, arm: str) -> Run:
    """The same run, in which the arm answers everything rightly."""
    items = [
        item.model_copy(update={"scores": item.scores | {"containment": 1.0}})
        if item.arm == arm and item.reply and item.task == "knowledge" and not item.slice
        else item
        for item in run.items
    ]
    return Run(run.header, items)


def test_a_run_against_itself_is_a_tie_everywhere_and_nothing_changed() -> None:
    run = sample_run()
    found = across(run, run, ("a", "b"))
    assert {each.verdict for each in found.differences} == {"tie"}
    assert len(found.differences) == 12 + 8
    assert change_lines(found) == ["Nothing else differs: the same suite, data and versions."]


def test_what_became_better_is_told_of_the_arm_alone() -> None:
    run = sample_run()
    found = across(run, improved(run, "rag"), ("a", "b"))
    better = [(each.asked.task, each.asked.arm) for each in found.differences if each.verdict == "better"]
    assert better == [("knowledge", "rag")]


def test_changes_of_data_versions_and_suite_are_named_and_times_are_none() -> None:
    run = sample_run()
    suite = run.header.suite.model_copy(update={"temperature": 0.7, "concurrency": 1})
    header = run.header.model_copy(
        update={"suite": suite, "data": run.header.data | {"intent": "00"}, "started": "later", "seconds": 1.0}
    )
    items = [
        item.model_copy(update={"reply": item.reply.model_copy(update={"versions": {"index": "handbook@4"}})})
        if item.arm == "rag" and item.reply
        else item
        for item in run.items
    ]
    found = across(run, Run(header, items), ("a", "b"))
    assert [change.what for change in found.changes] == ["data of intent", "suite.temperature", "versions of rag"]
    assert "Changed, versions of rag: handbook@3 → handbook@4" in change_lines(found)


def test_questions_that_are_others_under_the_same_name_are_left_out() -> None:
    run = sample_run()
    items = [
        item.model_copy(update={"query": "something else"}) if item.example == "k-001" else item for item in run.items
    ]
    found = across(run, Run(run.header, items), ("a", "b"))
    assert found.unlike == {"knowledge": 1}
    assert "Left out, knowledge: 1 questions are others under the same name." in change_lines(found)
