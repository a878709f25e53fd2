"""The demo as a whole: which commands it runs, what it does not do again, and what it refuses.

The program here stands in the place of `ragtune` (tests/bakeoff_program.py).
"""

import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from eval.suite import read_suite
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.workplace import Workplace
from ragtune.commands import Commands
from ragtune.demo.demo import Demo
from ragtune.errors import RagtuneError
from ragtune.store import Database
from ragtune.versions import Versions

PROGRAM = Path(__file__).parents[1] / "bakeoff_program.py"
ADAPTERS = [f"{task}-{name}" for name in ("lora", "soft-prompt", "partial") for task in ("knowledge", "extraction")]
ASKING = ["serve --port", "eval run", "eval report"]


class Anything(BaseModel):
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def demo(folder: Path, **changes: str) -> Demo:
    chosen = "knowledge=knowledge-lora+rag,extraction=extraction-lora"
    own = {"RAGTUNE_HOME": str(folder / "home"), "SERVED": "knowledge", "CHOSEN": chosen}
    environ = {**os.environ, "RAGTUNE_TOP_K": "2", **own, **changes}
    return Demo(Workplace(Files(folder, "demo.json"), Commands(environ, [sys.executable, str(PROGRAM)])))


def asked(folder: Path) -> list[str]:
    """What was run since the last look, by its first two words; of a training the recipe."""
    log = folder / "asked"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return [Path(words[1]).stem if words[0] == "train" else " ".join(words[:2]) for words in lines]


def test_the_first_run_does_everything_with_ragtunes_own_commands_and_shows_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = demo(folder)
    outcome = run.run()
    run.show(outcome)
    before = ["eval run", "index build", "serve --port", *["template add"] * 3]
    assert asked(folder) == [*before, *ADAPTERS, *ASKING, "eval report"]
    out, err = capfd.readouterr()
    assert out.index("Take knowledge-lora+rag.") < out.index("the table") < out.index("Where the time went")
    assert f"RAGTUNE_HOME={folder}/home RAGTUNE_TOP_K=2" in out
    assert "ragtune mode alias best-knowledge knowledge-lora@1+rag" in out
    assert "report.html" in out and "ragtune bakeoff --docs" in out
    assert "1/12" in err and "12/12" in err and "$ ragtune index build" in err
    document = json.loads(outcome.model_dump_json())
    assert {"folder", "stages", "evaluation", "plan", "failed", "sampled", "best", "page"} == set(document)
    assert len(document["stages"]) == 12


@pytest.mark.slow  # many processes
def test_every_technique_is_asked_on_both_tasks_and_the_suite_is_one_the_evaluator_takes(folder: Path) -> None:
    demo(folder).run()
    suite = read_suite(folder / "suite.toml")
    for task in ("knowledge", "extraction"):
        wanted = {"base", "rag"} | {f"{task}-{name}{rag}" for name in ("lora", "soft-prompt") for rag in ("", "+rag")}
        wanted |= {f"{task}-partial"}
        names = {arm.name for arm in suite.arms if task in {t.name for t in suite.asked(arm)}}
        assert wanted <= names
        assert any(name.startswith("prompt:") and name.endswith("+rag") for name in names)
    assert {arm.context for arm in suite.arms} == {"retrieved", "none", "gold", "gold+distractors", "wrong"}


@pytest.mark.slow  # many processes
def test_the_second_run_does_nothing_again_and_shows_the_same(folder: Path) -> None:
    first = demo(folder).run()
    asked(folder)
    second = demo(folder).run()
    assert asked(folder) == []
    assert second.evaluation == first.evaluation
    assert all(done.again for done in second.stages.values())
    assert {name: done.result for name, done in second.stages.items()} == {
        name: done.result for name, done in first.stages.items()
    }


@pytest.mark.slow  # many processes
def test_an_adapter_that_is_gone_is_trained_again_and_everything_asked_again(folder: Path) -> None:
    demo(folder).run()
    Versions(folder / "home", Database(folder / "home" / "ragtune.db"), "adapter", Anything).delete("extraction-lora")
    asked(folder)
    outcome = demo(folder).run()
    assert asked(folder) == ["extraction-lora", *ASKING]
    assert "extraction-lora@2" in [done.result for done in outcome.stages.values()]


@pytest.mark.slow  # many processes
def test_another_setting_of_the_users_makes_it_all_anew(folder: Path) -> None:
    demo(folder).run()
    asked(folder)
    demo(folder, RAGTUNE_PASSAGE_TOKENS="120").run()
    assert set(ADAPTERS) <= set(asked(folder))


@pytest.mark.slow  # many processes
def test_starting_over_deletes_a_demo_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    demo(folder).start_over()  # there is nothing yet
    folder.mkdir()
    (folder / "demo.json").write_text("{}")
    demo(folder).start_over()
    assert not folder.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.md").write_text("all my work")
    with pytest.raises(RagtuneError, match="holds no demo"):
        demo(tmp_path / "mine").start_over()
    assert (tmp_path / "mine" / "thesis.md").exists()
