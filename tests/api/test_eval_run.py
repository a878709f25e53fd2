"""`ragtune eval run` and `report` against a real local server whose answers can be computed by eye.

Mode `base` repeats the question, `rag` finds the answer in a passage; a few words in a question make trouble.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eval.cli import evaluate
from eval.html.page import FILE
from eval.runfile import BEGUN, HEADER, ITEMS, PARTIAL, Item, read_run
from ragtune.errors import RefusedArtifact, Unavailable
from tests.echo_service import Behaviour, application, serving

SUITE = """
name = "handbook"
concurrency = 6
alone = 4

[[tasks]]
name = "knowledge"
examples = "knowledge.jsonl"
metrics = ["exact_match", "containment"]
primary = "containment"

[[tasks]]
name = "extraction"
examples = "extraction.jsonl"
metrics = ["field_f1"]

[[arms]]
mode = "base"

[[arms]]
mode = "help-lora+rag"
label = "trained"
tasks = ["knowledge"]

[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "trained"
over = "base"
margin = 50
"""


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    """A real server on a free port."""
    with serving(application(behaviour)) as at:
        yield at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite of 20 knowledge questions, three of them unanswerable, and 6 extractions."""
    knowledge: list[dict[str, object]] = [
        {
            "id": f"k{n}",
            "query": f"How long is warranty {n}?",
            "answers": [f"{n} months"],
            "gold_documents": [f"{n}.md"],
        }
        for n in range(1, 18)
    ]
    knowledge += [
        {"id": f"u{n}", "query": "What?", "answers": ["Not in the documents."], "slice": "unanswerable"}
        for n in range(3)
    ]
    extraction = [{"id": "e0", "query": '{"colour": "red"', "answers": ['{"colour": "red"}']}]
    extraction += [
        {"id": f"e{n}", "query": '{"colour": "red"}', "answers": ['{"colour": "red", "size": ""}']} for n in range(1, 6)
    ]
    (tmp_path / "knowledge.jsonl").write_text("".join(json.dumps(example) + "\n" for example in knowledge))
    (tmp_path / "extraction.jsonl").write_text("".join(json.dumps(example) + "\n" for example in extraction))
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def run(folder: Path, url: str, *more: str) -> Result:
    out = folder / "out"
    return CliRunner().invoke(evaluate, ["run", str(folder / "suite.toml"), "--url", url, "--out", str(out), *more])


def items(folder: Path) -> list[Item]:
    return list(read_run(folder / "out").items)


def test_every_example_is_asked_in_every_mode_and_judged(folder: Path, url: str) -> None:
    done = run(folder, url, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)["report"]
    base, trained = made["arms"]
    assert (base["name"], trained["name"], trained["mode"]) == ("base", "trained", "help-lora+rag")
    contained = base["tasks"]["knowledge"]["scores"]["containment"]
    assert (contained["mean"], contained["low"], contained["n"], contained["clusters"]) == (0, 0, 17, 17)
    assert trained["tasks"]["knowledge"]["scores"]["containment"]["mean"] == 1
    assert trained["tasks"]["knowledge"]["gold_retrieved"]["mean"] == 1
    assert base["tasks"]["knowledge"]["gold_retrieved"] is None
    assert trained["tasks"]["knowledge"]["slices"]["unanswerable"]["score"]["mean"] == 1
    assert base["tasks"]["knowledge"]["slices"]["unanswerable"]["score"]["mean"] == 0
    assert trained["tasks"]["knowledge"]["abstained"]["mean"] == 0
    assert (base["tasks"]["extraction"]["unparsable"], "extraction" in trained["tasks"]) == (1, False)
    assert base["tasks"]["extraction"]["scores"]["field_f1"]["mean"] == pytest.approx(5 / 6)
    assert (base["training_seconds"], trained["training_seconds"]) == (0, 42.4)
    assert trained["versions"] == {"weights": ["help-lora@2"], "index": ["handbook@3"]}
    assert (made["differences"][0]["reached"], made["differences"][0]["difference"]["mean"]) == (True, 1)


def test_an_arm_may_be_an_alias_for_a_mode(folder: Path, url: str) -> None:
    change(folder / "suite.toml", "help-lora+rag", "best")
    done = run(folder, url, "--json")
    assert done.exit_code == 0, done.output
    trained = json.loads(done.stdout)["report"]["arms"][1]
    assert (trained["mode"], trained["training_seconds"]) == ("best", 42.4)
    assert trained["versions"] == {"weights": ["help-lora@2"], "index": ["handbook@3"]}


def test_some_questions_of_all_tasks_are_timed_alone_and_then_the_others_asked_together_but_bounded(
    folder: Path, url: str, behaviour: Behaviour
) -> None:
    done = run(folder, url, "--json")
    base = json.loads(done.stdout)["report"]["arms"][0]
    assert base["cost"]["first_alone"]["median"] == base["cost"]["first_alone"]["p95"] == 5
    assert base["cost"]["first_loaded"]["median"] == 50
    assert behaviour.most_at_once == 6
    first = {item.query: item.task for item in items(folder)}
    assert [first[query] for query in behaviour.asked[:4]] == ["knowledge", "extraction"] * 2
    warm, other = [item for item in items(folder) if item.warm_up]
    assert (warm.query, warm.alone, warm.arm, other.arm) == (behaviour.asked[0], False, "base", "trained")
    assert base["cost"]["first_loaded"]["n"] == 26 - 5
    assert len(behaviour.asked) == len(items(folder)) == 46, "nothing is asked twice"
    assert sum(item.alone for item in items(folder)) == 8


def test_a_busy_service_is_waited_for_and_the_repeats_are_counted(folder: Path, url: str, behaviour: Behaviour) -> None:
    behaviour.busy = 3
    done = run(folder, url)
    assert sum(item.retries for item in items(folder)) == 3
    assert not any(item.error for item in items(folder))
    assert "3 requests were repeated because the service was full." in done.stdout


def test_a_service_that_stays_busy_is_not_waited_for_without_end(folder: Path, url: str, behaviour: Behaviour) -> None:
    behaviour.busy = 10**6
    done = run(folder, url)
    assert {(item.error, item.retries) for item in items(folder)} == {("HTTP 429: the queue is full", 5)}
    assert isinstance(done.exception, Unavailable) and "no question was answered" in done.exception.message


@pytest.mark.parametrize(
    ("trouble", "reason"), [("too late", "HTTP 504: the deadline passed"), ("garbled", "not an answer: Field required")]
)
def test_a_failed_request_is_left_out_and_counted_but_is_no_zero(
    folder: Path, url: str, trouble: str, reason: str
) -> None:
    change(folder / "knowledge.jsonl", "How long is warranty 3?", f"How long, {trouble}?")
    done = run(folder, url, "--json")
    made = json.loads(done.stdout)["report"]
    assert made["failures"] == {reason: 2}
    for arm, mean in zip(made["arms"], (0, 1), strict=True):
        knowledge = arm["tasks"]["knowledge"]
        assert (knowledge["failed"], knowledge["answered"]) == (1, 16)
        assert (knowledge["scores"]["containment"]["n"], knowledge["scores"]["containment"]["mean"]) == (16, mean)
    assert (made["differences"][0]["difference"]["n"], made["differences"][0]["left_out"]) == (16, 1)


def test_a_service_that_goes_away_ends_the_run_and_leaves_no_report_of_half_of_it(
    folder: Path, url: str, behaviour: Behaviour
) -> None:
    behaviour.gone_after = 18
    done = run(folder, url)
    assert isinstance(done.exception, Unavailable) and "no longer takes requests" in done.exception.message
    assert f"18 of 46 questions are answered. Once it is back, the same command with --out {folder / 'out'}" in str(
        done.exception
    )
    assert len((folder / "out" / PARTIAL).read_text().splitlines()) == 18
    with pytest.raises(RefusedArtifact, match="cut off"):
        read_run(folder / "out")


def test_an_earlier_run_stays_until_a_new_one_is_whole(folder: Path, url: str, behaviour: Behaviour) -> None:
    run(folder, url)
    before = read_run(folder / "out")
    behaviour.gone_after = behaviour.answered + 5
    assert run(folder, url, "--fresh").exit_code == 1
    assert read_run(folder / "out") == before
    assert (folder / "out" / BEGUN).exists()
    behaviour.gone_after = None
    assert run(folder, url, "--fresh").exit_code == 0
    assert read_run(folder / "out").header != before.header


def test_a_mode_the_service_does_not_know_is_told_before_anything_is_asked(
    folder: Path, url: str, behaviour: Behaviour
) -> None:
    behaviour.known = ("base",)
    done = run(folder, url)
    assert isinstance(done.exception, RefusedArtifact) and "did you mean 'base'?" in done.exception.message
    assert behaviour.asked == [] and not (folder / "out").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense", "http://["])
def test_no_service_at_the_address_is_said_in_words(folder: Path, address: str) -> None:
    done = run(folder, address)
    assert isinstance(done.exception, Unavailable), done.exception
    assert address in done.exception.message


def test_what_is_no_ragtune_service_is_said_in_words(folder: Path, url: str) -> None:
    done = run(folder, f"{url}/v1/models")
    assert isinstance(done.exception, Unavailable | RefusedArtifact), done.exception
    assert url in done.exception.message


def test_a_report_can_be_made_again_from_the_folder_alone(folder: Path, url: str) -> None:
    first = run(folder, url, "--json", "--examples", "2")
    (folder / "suite.toml").unlink()
    again = CliRunner().invoke(evaluate, ["report", str(folder / "out"), "--json", "--examples", "2"])
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [FILE, HEADER, ITEMS]


@pytest.mark.parametrize("form", [(), ("--wide",), ("--markdown",), ("--markdown", "--wide")])
def test_a_report_shows_figures_costs_differences_and_examples(folder: Path, url: str, form: tuple[str, ...]) -> None:
    run(folder, url)
    done = CliRunner().invoke(evaluate, ["report", str(folder / "out"), "--examples", "1", *form])
    shown = done.stdout.replace("\\", "").replace("**", "")
    for part in (
        "trained",
        "42 s",
        "> 50",
        "How long is warranty",
        "It is 1 months.",
        "100 [79, 100]",
        "echo (made up)",
    ):
        assert part in shown, part
    assert re.search(r"gold document was among the passages for 100 % of 17 questions \(trained\)", shown)
    assert ("every metric" in shown) == ("--wide" in form)


@pytest.mark.parametrize(("timeout", "told"), [(120, True), (60, False)])
def test_a_timeout_that_the_service_does_not_keep_is_told(folder: Path, url: str, timeout: int, told: bool) -> None:
    change(folder / "suite.toml", "alone = 4", f"alone = 4\ntimeout = {timeout}")
    shown = " ".join(run(folder, url).stdout.split())
    assert ("the service gave a request 60 s at most, not the 120 s of the suite" in shown) == told


def test_json_and_markdown_exclude_each_other(folder: Path) -> None:
    assert CliRunner().invoke(evaluate, ["report", str(folder), "--json", "--markdown"]).exit_code == 2
