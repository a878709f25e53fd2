"""The demo: seven stages, each of them one or a few of ragtune's own commands, shown as they would be typed.

company -> templates -> index -> three trainings -> evaluation of every mode over HTTP

Everything lives in one folder: what is given (documents, examples, recipes, templates, the suite), the home that the
commands fill, and the evaluation's run. Nothing shown at the end is kept anywhere else.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from ragtune.commands import Commands
from ragtune.demo.company import SEED, write_company
from ragtune.errors import RagtuneError, UnknownName
from ragtune.examples import read_examples
from ragtune.mode import Ref
from ragtune.settings import PREFIX, Settings
from ragtune.stages import Done, Stages, fingerprint, print_bill
from ragtune.store import Database
from ragtune.terminal import results, say
from ragtune.versions import Versions

INDEX = "handbook"
TRAININGS = {  # what each adapter is: the headers say it
    "knowledge-lora": "a LoRA that answers from retrieved passages",
    "extraction-lora": "a LoRA that turns listings into JSON",
    "concise-prompt": "a soft prompt for short answers",
}
_AS_SET = {
    f"{PREFIX}TOP_K": "2",  # finds 93 % of the training questions' answers, 4 find 97 % and cost twice the tokens
    f"{PREFIX}PASSAGE_ORDER": "best-last",  # the base model answers 38 % of them so, and 28 % in canonical order
}
EXAMPLES = 3  # shown side by side
_SHIPPED = Path(__file__).parent
_MARK = "demo.json"
_STAGES = 4 + len(TRAININGS)


class Outcome(BaseModel):
    """What a demo left: where, how long each stage took, and the evaluation's report as `ragtune eval` gives it."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    stages: dict[str, Done]
    evaluation: JsonValue


class _Anything(BaseModel):
    """A manifest of any kind: here only names and numbers matter."""


@dataclass(frozen=True)
class Demo:
    """One folder with everything in it."""

    folder: Path
    commands: Commands

    @classmethod
    def at(cls, folder: Path, *, results_to_stderr: bool = False) -> "Demo":
        """A demo in `folder`, under the caller's RAGTUNE_ settings but with a home of its own."""
        folder = folder.resolve()
        environ = {**_AS_SET, **os.environ, f"{PREFIX}HOME": str(folder / "home")}
        return cls(folder, Commands(environ, results_to_stderr=results_to_stderr))

    @property
    def home(self) -> Path:
        """The RAGTUNE_HOME the demo fills."""
        return self.folder / "home"

    @property
    def evaluation(self) -> Path:
        """The evaluation's run."""
        return self.folder / "evaluation"

    def start_over(self) -> None:
        """Delete the folder. Raises RagtuneError if it is not a demo's."""
        if not self.folder.exists():
            return
        if not (self.folder / _MARK).exists() and any(self.folder.iterdir()):
            raise RagtuneError(f"{self.folder} holds no demo, so it is not deleted; name another --folder")
        shutil.rmtree(self.folder)

    def run(self) -> Outcome:
        """All stages, those that are up to date left as they are. Raises RagtuneError if one fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stages = Stages(self.folder / _MARK, _STAGES)
        self._lay_out()
        stages.run("the company", f"{SEED} {_sources()}", lambda _: (self.folder / "docs").is_dir(), self._company)
        stages.run("prompt templates", self._inputs("templates"), self._all_there("template"), self._templates)
        index = stages.run("the knowledge index", self._inputs("docs"), self._there("index"), self._index)
        made = [index]
        for name, what in TRAININGS.items():
            data = "extraction-train.jsonl" if name.startswith("extraction") else "knowledge-train.jsonl"
            inputs = self._inputs(f"recipes/{name}.toml", data, index)
            made.append(stages.run(what, inputs, self._there("adapter"), partial(self._train, name)))
        inputs = self._inputs("suite.toml", "knowledge-heldout.jsonl", "extraction-heldout.jsonl", "templates", *made)
        stages.run("every mode, asked over HTTP", inputs, lambda _: self._report.exists(), self._evaluate)
        return Outcome(
            folder=self.folder, stages=stages.bill, evaluation=json.loads(self._report.read_text(encoding="utf-8"))
        )

    def show(self, outcome: Outcome) -> None:
        """The table, telling answers, the bill, and how to go on."""
        self.commands.run("eval", "report", str(self.evaluation), "--examples", str(EXAMPLES))
        results.print()
        print_bill(outcome.stages)
        asked = read_examples(self.folder / "knowledge-heldout.jsonl")[0].query
        places = {"home": shlex.quote(str(self.home)), "run": _near(self.evaluation), "question": shlex.quote(asked)}
        settings = " ".join(f"{name}={self.commands.environ.get(name, value)}" for name, value in _AS_SET.items())
        results.print(_GO_ON.format(**places, settings=settings), markup=False)

    def keep_serving(self) -> None:
        """Serve the demo's home until interrupted."""
        self.commands.run("serve")

    @property
    def _report(self) -> Path:
        return self.evaluation / "report.json"

    def _lay_out(self) -> None:
        """Put what the package ships beside the company's files; paths in it are relative to this folder."""
        for name in ("recipes", "templates"):
            shutil.copytree(_SHIPPED / name, self.folder / name, dirs_exist_ok=True)
        shutil.copyfile(_SHIPPED / "suite.toml", self.folder / "suite.toml")

    def _company(self) -> str:
        written = write_company(self.folder)
        return f"{sum(1 for _ in written.docs.rglob('*.md'))} documents, with questions and listings for two tasks"

    def _templates(self) -> str:
        names = [path.stem for path in sorted((self.folder / "templates").glob("*.toml"))]
        for name in names:
            self._command("template", "add", name, _near(self.folder / "templates" / f"{name}.toml"))
        return ", ".join(self._current("template", name) for name in names)

    def _index(self) -> str:
        self._command("index", "build", _near(self.folder / "docs"), "--name", INDEX)
        return self._current("index", INDEX)

    def _train(self, name: str) -> str:
        self._command("train", _near(self.folder / "recipes" / f"{name}.toml"))
        return self._current("adapter", name)

    def _evaluate(self) -> str:
        say("$ ragtune serve")
        with self.commands.serve(self.folder / "server.log"):
            run = ("eval", "run", _near(self.folder / "suite.toml"), "--out", _near(self.evaluation))
            say(f"$ ragtune {shlex.join(run)}")
            beside = self.folder / "report.new"  # in its place once it is whole
            self.commands.run(*run, "--json", "--examples", str(EXAMPLES), results=beside)
            beside.rename(self._report)
        return _near(self.evaluation)

    def _command(self, *arguments: str) -> None:
        say(f"$ ragtune {shlex.join(arguments)}")
        self.commands.run(*arguments)

    def _inputs(self, *parts: str) -> str:
        """A hash over files of the folder (texts where there is no such file) and the settings in force."""
        settings = [f"{k}={v}" for k, v in sorted(self.commands.environ.items()) if k.startswith(PREFIX)]
        paths = [self.folder / part for part in parts]
        return fingerprint(*(p if p.exists() else part for p, part in zip(paths, parts, strict=True)), *settings)

    def _versions(self, kind: str) -> Versions[_Anything]:
        return Versions(self.home, Database(Settings(home=self.home).database), kind, _Anything)

    def _current(self, kind: str, name: str) -> str:
        return str(self._versions(kind).resolve(Ref(name)))

    def _there(self, kind: str) -> Callable[[str], bool]:
        """Whether a version an earlier run published is still there, and still what its bare name means."""

        def there(result: str) -> bool:
            try:
                return self._current(kind, Ref.parse(result).name) == result
            except UnknownName:
                return False

        return there

    def _all_there(self, kind: str) -> Callable[[str], bool]:
        one = self._there(kind)
        return lambda result: all(map(one, result.split(", ")))


_GO_ON = """
Go on: ask it yourself, with the environment's `ragtune` (in .venv/bin after `make setup`)

  export RAGTUNE_HOME={home} {settings}
  ragtune serve                         # then, in another terminal with the same settings:
  ragtune compare {question} --mode base --mode rag --mode knowledge-lora+rag
  ragtune eval report {run} --wide      # every metric and all costs
  ragtune index build YOUR-DOCS --name mine && ragtune query "..." --mode rag:mine
"""


def _sources() -> str:
    """The generator's own source, so that a changed one writes anew."""
    return fingerprint(*(_SHIPPED / f"{name}.py" for name in ("company", "extraction", "facts", "names")))


def _near(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
