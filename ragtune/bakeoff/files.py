"""The folder of a bake-off: everything that is given to the commands, and everything they leave.

train-TASK.jsonl, heldout-TASK.jsonl    the examples, whatever format they came in
recipes/  templates/  suite.toml        what was trained, shown, asked
home/                                   the RAGTUNE_HOME of its own: index, adapters, templates
evaluation/  report.json  report.html  report.md   the run, and what it says
bakeoff.json  probe.json  plan.json     what is done, measured, planned
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtune.bakeoff.task import Task
from ragtune.errors import RagtuneError
from ragtune.examples import Example


@dataclass(frozen=True)
class Files:
    """Where everything is; `mark` is the record of stages, by which the folder is known to be one of these."""

    folder: Path
    mark: str = "bakeoff.json"

    @property
    def record(self) -> Path:
        """Of the stages."""
        return self.folder / self.mark

    @property
    def home(self) -> Path:
        """The RAGTUNE_HOME that is filled."""
        return self.folder / "home"

    @property
    def suite(self) -> Path:
        """What is asked."""
        return self.folder / "suite.toml"

    @property
    def evaluation(self) -> Path:
        """The evaluation's run."""
        return self.folder / "evaluation"

    @property
    def report(self) -> Path:
        """What `ragtune eval run --json` said."""
        return self.folder / "report.json"

    @property
    def page(self) -> Path:
        """The report to look at."""
        return self.folder / "report.html"

    def train(self, task: str) -> Path:
        """Training examples of a task."""
        return self.folder / f"train-{task}.jsonl"

    def heldout(self, task: str) -> Path:
        """Held-out examples of a task."""
        return self.folder / f"heldout-{task}.jsonl"

    def recipe(self, adapter: str) -> Path:
        """What makes an adapter."""
        return self.folder / "recipes" / f"{adapter}.toml"

    def template(self, name: str) -> Path:
        """A template's text."""
        return self.folder / "templates" / f"{name}.toml"

    def start_over(self) -> None:
        """Delete the folder. Raises RagtuneError if it is not one of these."""
        if not self.folder.exists():
            return
        if not self.record.exists() and any(self.folder.iterdir()):
            what = self.mark.removesuffix(".json").replace("bakeoff", "bake-off")
            raise RagtuneError(f"{self.folder} holds no {what}, so it is not deleted; name another --folder")
        shutil.rmtree(self.folder)

    def lay_out(self, tasks: Sequence[Task]) -> None:
        """Put the examples into the folder."""
        for folder in (self.folder, self.folder / "recipes", self.folder / "templates"):
            folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            _write(self.train(task.name), task.train)
            _write(self.heldout(task.name), task.heldout)


def _write(path: Path, examples: Sequence[Example]) -> None:
    path.write_text(
        "".join(example.model_dump_json(exclude_defaults=True) + "\n" for example in examples), encoding="utf-8"
    )
