"""The second half of a bake-off: templates are added, every arm is asked over HTTP, and the report is written."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragtune.bakeoff.arms import Arm, Trained
from ragtune.bakeoff.few_shot import few_shot, few_shot_with_passages, shots
from ragtune.bakeoff.plan import LEAST_ITEMS, Effort, Estimator, Plan, in_minutes
from ragtune.bakeoff.suite import TIMEOUT, Comparison, suite
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.task_names import slug
from ragtune.bakeoff.workplace import Workplace, near
from ragtune.stages import Stages
from ragtune.terminal import say

EXAMPLES = 3  # telling ones, shown side by side
_SIZES = (150, 100, 80, 60, 50, 40, LEAST_ITEMS)


@dataclass
class Evaluation:
    """Templates and the run over all arms. `shown` are the tasks' own templates, without and with passages.

    `retry_failed` asks again what failed earlier, `allow_leaks` goes on where held-out examples were trained on.
    """

    place: Workplace
    stages: Stages
    estimator: Estimator
    name: str
    shown: Mapping[str, tuple[Path, Path]]
    comparisons: Sequence[Comparison]
    retry_failed: bool = False
    allow_leaks: bool = False
    _names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def templates(self) -> dict[str, str]:
        """Add every task's templates; their versions by name. Raises RagtuneError if one is refused."""
        texts: dict[str, str] = {}
        for task in self.estimator.tasks:
            plain, passages = self._texts(task)
            texts.update([plain, passages])
            self._names[task.name] = plain[0], passages[0]
        for name, text in texts.items():
            self.place.files.template(name).write_text(text, encoding="utf-8")
        self.stages.run(
            "prompt templates",
            self.place.inputs(json.dumps(texts)),
            self.place.there("template"),
            lambda: self._add(list(texts)),
        )
        return {name: self.place.current("template", name) for name in texts}

    def ask(self, plan: Plan, trained: Sequence[Trained], versions: Sequence[str], budget: float | None) -> list[Arm]:
        """Ask every arm; `versions` are of all that they are made of. Raises RagtuneError if it fails.

        Where the time left of the budget does not reach for as many questions as planned, fewer are asked, and it is
        said. One that was interrupted goes on with the same suite.
        """
        inputs, files = self._inputs(plan, versions), self.place.files
        items = self._begun(inputs) or self._items(plan.effort, trained, budget)
        asked = self.estimator.arms(self._names, trained, items, combined=plan.effort.combined)
        files.suite.write_text(self._suite(asked, items), encoding="utf-8")
        if self._begun(inputs) is None:
            shutil.rmtree(files.evaluation, ignore_errors=True)  # of another suite
            self._begin(inputs, items)
        self.stages.run("every arm, asked over HTTP", inputs, lambda _: self._is_there(), self._run)
        return asked

    def _is_there(self) -> bool:
        return not self.retry_failed and self.place.files.report.exists() and self.place.files.page.exists()

    def _run(self) -> str:
        files = self.place.files
        say("$ ragtune serve")
        with self.place.commands.serve(files.folder / "server.log"):
            wanted = {"--retry-failed": self.retry_failed, "--allow-leaks": self.allow_leaks}
            flags = (flag for flag, on in wanted.items() if on)
            run = ("eval", "run", near(files.suite), "--out", near(files.evaluation), *flags)
            say(f"$ ragtune {shlex.join(run)}")
            beside = files.report.with_suffix(".new")  # in its place once it is whole
            self.place.commands.run(*run, "--json", "--examples", str(EXAMPLES), results=beside)
            beside.rename(files.report)
        page = ("eval", "report", near(files.evaluation), "--html", near(files.page))
        say(f"$ ragtune {shlex.join(page)}")
        self.place.commands.run(*page, "--markdown", results=files.folder / "report.md")
        return near(files.evaluation)

    def _items(self, effort: Effort, trained: Sequence[Trained], budget: float | None) -> int:
        """As many questions of each task as planned, or as there is still time for."""
        if budget is None:
            return effort.items
        left = budget - self.stages.spent

        def seconds(items: int) -> float:
            return self.estimator.evaluation(effort.model_copy(update={"items": items}), trained)

        smaller = (size for size in _SIZES if size < effort.items)
        items = next((size for size in (effort.items, *smaller) if seconds(size) <= left), LEAST_ITEMS)
        if items < effort.items:
            say(f"{in_minutes(max(0.0, left))} of the budget are left: {items} questions a task, not {effort.items}")
        if seconds(items) > left:
            say(f"the evaluation takes about {in_minutes(seconds(items))} all the same, which is beyond the budget")
        return items

    def _inputs(self, plan: Plan, versions: Sequence[str]) -> str:
        tasks = self.estimator.tasks
        return self.place.inputs(
            plan.effort.model_dump_json(),
            json.dumps([*versions, {task.name: task.metrics for task in tasks}, *map(dict, self.comparisons)]),
            *(self.place.files.heldout(task.name) for task in tasks),
        )

    def _suite(self, asked: Sequence[Arm], items: int) -> str:
        tasks, files, there = self.estimator.tasks, self.place.files, {arm.name for arm in asked}
        return suite(
            self.name,
            tasks,
            asked,
            items=items,
            concurrency=self.estimator.at_once(TIMEOUT),
            trained_on=[Path(files.train(task.name).name) for task in tasks],
            heldout={task.name: Path(files.heldout(task.name).name) for task in tasks},
            comparisons=[pair for pair in self.comparisons if {pair["arm"], pair["over"]} <= there],
        )

    @property
    def _mark(self) -> Path:
        return self.place.files.folder / "asked.json"

    def _begin(self, inputs: str, items: int) -> None:
        self._mark.write_text(json.dumps({"inputs": inputs, "items": items}) + "\n", encoding="utf-8")

    def _begun(self, inputs: str) -> int | None:
        """How many questions the run of these inputs asks that was begun earlier; None if there is none."""
        try:
            mark = json.loads(self._mark.read_text(encoding="utf-8"))
            return int(mark["items"]) if mark["inputs"] == inputs else None
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _add(self, names: Sequence[str]) -> str:
        for name in names:
            self.place.command("template", "add", name, near(self.place.files.template(name)))
        return ", ".join(self.place.current("template", name) for name in names)

    def _texts(self, task: Task) -> list[tuple[str, str]]:
        """Names and texts of the templates without and with passages; twice the same where one serves both."""
        if task.name in self.shown:
            return [(_own_name(path, task), path.read_text(encoding="utf-8")) for path in self.shown[task.name]]
        probed = self.estimator.probe.tasks[task.name]
        plain = (f"{task.name}-few-shot", few_shot(task, contexts=not probed.served))
        if not (probed.served or probed.helped):
            return [plain, plain]
        found = sum(bool(probed.passages.get(example.id)) for example in shots(task))
        if found < len(shots(task)):
            say(f"{task.name}: passages were found for {found} of the {len(shots(task))} examples that a prompt shows")
        passages = few_shot_with_passages(task, probed.passages)
        if passages is None:
            say(f"{task.name}: so retrieval is asked with the template whose examples show none")
            return [plain, plain]
        return [plain, (f"{task.name}-few-shot-passages", passages)]


def _own_name(path: Path, task: Task) -> str:
    """Of a template that comes with a task: as its file is called, with the task before it."""
    name = slug(path.stem)
    return name if name.startswith(task.name) else f"{task.name}-{name}"
