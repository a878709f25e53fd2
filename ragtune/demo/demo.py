"""The demo: a short bake-off on an invented company, each stage one or a few of ragtune's own commands.

company -> index -> a look at the service -> templates -> three trainings a task -> evaluation of every arm over HTTP

What is done does not depend on how fast the machine is, so that two runs can be compared; a bake-off with a budget on
the same files is one command more. Everything lives in one folder, and what is shown at the end is kept there.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ragtune.bakeoff.bakeoff import STAGES, Bakeoff
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.outcome import Outcome
from ragtune.bakeoff.plan import Effort
from ragtune.bakeoff.screen import show_going_on, show_outcome
from ragtune.bakeoff.suite import Comparison
from ragtune.bakeoff.task import read_tasks
from ragtune.bakeoff.workplace import Workplace, near
from ragtune.commands import Commands
from ragtune.demo.company import SEED, write_company
from ragtune.settings import PREFIX
from ragtune.stages import Stages, fingerprint
from ragtune.terminal import show

INDEX = "handbook"
EFFORT = Effort(steps=24, items=40)
TASKS = ("knowledge", "extraction")
TEMPLATES = {  # of each task, without passages and with them
    "knowledge": ("knowledge-plain", "knowledge-few-shot"),
    "extraction": ("extraction-few-shot", "extraction-few-shot"),
}
COMPARISONS: tuple[Comparison, ...] = (
    {"task": "knowledge", "metric": "containment", "arm": "rag", "over": "base", "margin": 20.0},
    {"task": "knowledge", "metric": "token_f1", "arm": "knowledge-lora+rag", "over": "rag", "margin": 20.0},
    {"task": "extraction", "metric": "field_f1", "arm": "extraction-lora", "over": "base", "margin": 40.0},
)
_AS_SET = {
    f"{PREFIX}TOP_K": "2",  # finds 93 % of the training questions' answers, 4 find 97 % and cost twice the tokens
    f"{PREFIX}PASSAGE_ORDER": "best-last",  # the base model answers 38 % of them so, and 28 % in canonical order
}
_SHIPPED = Path(__file__).parent
_MARK, _OWN = "demo.json", ("docs", *(f"{task}-*.jsonl" for task in TASKS))


@dataclass(frozen=True)
class Demo:
    """One folder with everything in it."""

    place: Workplace

    @classmethod
    def at(cls, folder: Path, *, results_to_stderr: bool = False) -> "Demo":
        """A demo in `folder`, under the caller's RAGTUNE_ settings but with a home of its own."""
        files = Files(folder.resolve(), _MARK, _OWN)
        own = {f"{PREFIX}HOME": str(files.home), f"{PREFIX}DEFAULT_INDEX": INDEX}
        return cls(Workplace(files, Commands({**_AS_SET, **os.environ, **own}, results_to_stderr=results_to_stderr)))

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.place.files.folder

    def start_over(self) -> None:
        """Delete what an earlier demo left in the folder. Raises RagtuneError if it is not a demo's."""
        self.place.files.start_over()

    def run(self) -> Outcome:
        """All stages, those that are up to date left as they are. Raises RagtuneError if one but a training fails."""
        self.place.files.claim()
        stages = Stages(self.place.files.record, 1 + STAGES + len(EFFORT.techniques) * len(TASKS))
        written = self.folder / "docs"
        stages.run("the company", f"{SEED} {_sources()}", lambda _: written.is_dir(), self._company)
        return Bakeoff(
            name="Brevanta",
            place=self.place,
            docs=written,
            index=INDEX,
            tasks=read_tasks(self._examples("train"), self._examples("heldout")),
            budget=None,
            effort=EFFORT,
            shown={task: (_template(plain), _template(passages)) for task, (plain, passages) in TEMPLATES.items()},
            comparisons=COMPARISONS,
        ).run(stages)

    def show(self, outcome: Outcome) -> None:
        """The verdict, the table, telling answers, the bill, and how to go on."""
        show_outcome(self.place, outcome)
        settings = " ".join(f"{name}={self.place.commands.environ.get(name, value)}" for name, value in _AS_SET.items())
        show_going_on(self.place, outcome, settings)
        files = " ".join(f"--{part} {near(file)}" for part in ("train", "heldout") for file in self._examples(part))
        show("\nThe whole of it, with further techniques and two learning rates each, in half an hour:\n")
        show(f"  ragtune bakeoff --docs {near(self.folder / 'docs')} {files} --budget 30m")

    def keep_serving(self) -> None:
        """Serve the demo's home until interrupted."""
        self.place.commands.run("serve")

    def _examples(self, part: str) -> list[Path]:
        return [self.folder / f"{task}-{part}.jsonl" for task in TASKS]

    def _company(self) -> str:
        shutil.rmtree(self.folder / "docs", ignore_errors=True)
        written = write_company(self.folder)
        return f"{sum(1 for _ in written.docs.rglob('*.md'))} documents, with questions and listings for two tasks"


def _template(name: str) -> Path:
    return _SHIPPED / "templates" / f"{name}.toml"


def _sources() -> str:
    """The generator's own source, so that a changed one writes anew."""
    return fingerprint(*(_SHIPPED / f"{name}.py" for name in ("company", "extraction", "facts", "names")))
