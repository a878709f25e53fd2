"""The demo as a whole: which commands it runs, what it does not do again, and what it refuses.

The program here stands in the place of `ragtune`: it notes what it is asked, publishes versions as the real commands
do, and announces itself when it serves.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from ragtune.commands import Commands
from ragtune.demo.demo import Demo
from ragtune.errors import RagtuneError
from ragtune.store import Database
from ragtune.versions import Versions

PROGRAM = """
import http.server, json, os, sys
from pathlib import Path
from pydantic import BaseModel
from ragtune.home import announce
from ragtune.store import Database
from ragtune.versions import Versions

home, asked = Path(os.environ["RAGTUNE_HOME"]), sys.argv[1:]
with (home.parent / "asked").open("a") as log:
    print(*asked[:3], file=log)

class Empty(BaseModel):
    pass

def publish(kind, name):
    versions = Versions(home, Database(home / "ragtune.db"), kind, Empty)
    with versions.staging() as staged:
        versions.publish(name, staged, Empty())

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

if asked == ["serve", "--port", "0"]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Ready)
    with announce(home, f"http://127.0.0.1:{server.server_port}"):
        server.serve_forever()
elif asked[:2] == ["template", "add"]:
    publish("template", asked[2])
elif asked[:2] == ["index", "build"]:
    publish("index", asked[asked.index("--name") + 1])
elif asked[0] == "train":
    if Path(asked[1]).stem == os.environ.get("BROKEN"):
        sys.exit("error: the reason")
    publish("adapter", Path(asked[1]).stem)
elif asked[:2] == ["eval", "run"]:
    Path(asked[asked.index("--out") + 1]).mkdir(exist_ok=True)
    print(json.dumps({"report": "of the run"}))
elif asked[:2] == ["eval", "report"]:
    print("the table")
"""
TRAININGS = ["knowledge-lora", "extraction-lora", "concise-prompt"]


class Anything(BaseModel):
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def demo(folder: Path, **changes: str) -> Demo:
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_TOP_K": "2", **changes}
    return Demo(folder, Commands(environ, [sys.executable, str(program)]))


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
    run.show(run.run())
    whole = ["template add"] * 4 + ["index build", *TRAININGS, "serve --port", "eval run", "eval report"]
    assert asked(folder) == whole
    out, err = capfd.readouterr()
    assert "the table" in out and "Where the time went" in out
    assert f"RAGTUNE_HOME={folder}/home" in out
    assert "1/7" in err and "7/7" in err and "$ ragtune index build" in err


def test_the_second_run_does_nothing_again_and_shows_the_same(folder: Path) -> None:
    first = demo(folder).run()
    asked(folder)
    second = demo(folder).run()
    assert asked(folder) == []
    assert second.evaluation == first.evaluation == {"report": "of the run"}
    assert all(done.again for done in second.stages.values())
    assert {name: done.result for name, done in second.stages.items()} == {
        name: done.result for name, done in first.stages.items()
    }


def test_an_adapter_that_is_gone_is_trained_again_and_everything_asked_again(folder: Path) -> None:
    demo(folder).run()
    Versions(folder / "home", Database(folder / "home" / "ragtune.db"), "adapter", Anything).delete("extraction-lora")
    asked(folder)
    outcome = demo(folder).run()
    assert asked(folder) == ["extraction-lora", "serve --port", "eval run"]
    assert "extraction-lora@2" in [done.result for done in outcome.stages.values()]


def test_another_setting_of_the_users_makes_it_all_anew(folder: Path) -> None:
    demo(folder).run()
    asked(folder)
    demo(folder, RAGTUNE_PASSAGE_TOKENS="120").run()
    assert set(TRAININGS) <= set(asked(folder))


def test_a_training_that_fails_is_named_and_what_was_done_before_is_kept(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RagtuneError, match=r"`ragtune train .*extraction-lora.toml` failed"):
        demo(folder, BROKEN="extraction-lora").run()
    assert "the reason" in capfd.readouterr().err
    asked(folder)
    demo(folder).run()
    assert asked(folder) == ["extraction-lora", "concise-prompt", "serve --port", "eval run"]


def test_starting_over_deletes_a_demo_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    demo(folder).start_over()  # there is nothing yet
    demo(folder).run()
    demo(folder).start_over()
    assert not folder.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.md").write_text("all my work")
    with pytest.raises(RagtuneError, match="holds no demo"):
        demo(tmp_path / "mine").start_over()
    assert (tmp_path / "mine" / "thesis.md").exists()


def test_the_outcome_is_one_json_document(folder: Path) -> None:
    document = json.loads(demo(folder).run().model_dump_json())
    assert set(document) == {"folder", "stages", "evaluation"}
    assert len(document["stages"]) == 7
