"""The folder of a bake-off: everything that is given to the commands, and everything they leave.

train-TASK.jsonl, heldout-TASK.jsonl    the examples, whatever format they came in; the held-out ones in a fair order
seen-TASK.jsonl                         of the training examples, as many as the trainings can see
draft.toml                              all that might be asked: what is checked before anything is done
recipes/  templates/  suite.toml        what was trained, shown, asked
home/                                   the RAGTUNE_HOME of its own: index, adapters, templates
evaluation/  report.json  report.html  report.md   the run, and what it says
bakeoff.json  probe.json  plan.json     what is done, measured, planned
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtune.bakeoff.sample import in_fair_order
from ragtune.bakeoff.task import Task
from ragtune.errors import RagtuneError, RefusedArtifact
from ragtune.examples import Example

_OWN = (
    *("recipes", "templates", "home", "evaluation", "suite.toml", "draft.toml", "server.log"),
    *("train-*.jsonl", "heldout-*.jsonl", "seen-*.jsonl", "report.*", "probe.json", "plan.*", "asked.json"),
)


@dataclass(frozen=True)
class Files:
    """Where everything is; `mark` is the record of stages, by which the folder is known to be one of these.

    `more` are names beside the usual ones that are deleted when one starts over.
    """

    folder: Path
    mark: str = "bakeoff.json"
    more: tuple[str, ...] = ()

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
    def draft(self) -> Path:
        """All that might be asked."""
        return self.folder / "draft.toml"

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

    def seen(self, task: str) -> Path:
        """Training examples of a task, as many as the trainings can see."""
        return self.folder / f"seen-{task}.jsonl"

    def recipe(self, adapter: str) -> Path:
        """What makes an adapter."""
        return self.folder / "recipes" / f"{adapter}.toml"

    def template(self, name: str) -> Path:
        """A template's text."""
        return self.folder / "templates" / f"{name}.toml"

    def claim(self) -> None:
        """Make the folder, known as one of these from now on. Raises RefusedArtifact if it holds something else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.record.exists():
            if any(self.folder.iterdir()):
                raise RefusedArtifact(f"{self._foreign}; name another --folder, a new or an empty one")
            self.record.write_text("{}\n", encoding="utf-8")

    def start_over(self) -> None:
        """Delete what earlier ones left in the folder, and nothing else. Raises RagtuneError if it is not one of
        these."""
        if not self.folder.exists():
            return
        if not self.record.exists() and any(self.folder.iterdir()):
            raise RagtuneError(f"{self._foreign}, so nothing there is deleted; name another --folder")
        for path in {path for pattern in (*_OWN, *self.more) for path in self.folder.glob(pattern)}:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.record.unlink(missing_ok=True)
        if any(self.folder.iterdir()):  # somebody else's: the folder stays, and stays one of these
            self.record.write_text("{}\n", encoding="utf-8")
        else:
            self.folder.rmdir()

    def lay_out(self, tasks: Sequence[Task]) -> None:
        """Put the examples into the folder."""
        for folder in (self.folder, self.folder / "recipes", self.folder / "templates"):
            folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            _write(self.train(task.name), task.train)
            _write(self.heldout(task.name), in_fair_order(task.heldout))

    def lay_out_seen(self, task: Task, count: int) -> None:
        """Put a fair sample of `count` training examples there: those that a training is given."""
        _write(self.seen(task.name), in_fair_order(task.train)[:count])

    @property
    def _foreign(self) -> str:
        what = self.mark.removesuffix(".json").replace("bakeoff", "bake-off")
        return f"{self.folder} holds no {what}, but other files"


def _write(path: Path, examples: Sequence[Example]) -> None:
    path.write_text(
        "".join(example.model_dump_json(exclude_defaults=True) + "\n" for example in examples), encoding="utf-8"
    )
