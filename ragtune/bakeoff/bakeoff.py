"""The bake-off, from top to bottom:

check -> index -> a look at the service -> the plan -> templates -> trainings -> evaluation over HTTP -> verdict

Every stage is one or a few of ragtune's own commands, shown as they would be typed, and is not done again while its
inputs are the same: an interrupted bake-off goes on where it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragtune.bakeoff.arms import sampled
from ragtune.bakeoff.draft import draft
from ragtune.bakeoff.evaluation import Evaluation
from ragtune.bakeoff.gold import told, without_contexts
from ragtune.bakeoff.outcome import Outcome, bests, read_rulings
from ragtune.bakeoff.plan import Effort, Estimator, Plan, in_minutes, plan, planned, rows
from ragtune.bakeoff.plan_file import PlanFile
from ragtune.bakeoff.probe import SERVED, Probe, posting, probe
from ragtune.bakeoff.suite import Comparison
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.trainings import Trainings
from ragtune.bakeoff.workplace import Workplace, near
from ragtune.remote import target
from ragtune.settings import Settings
from ragtune.stages import Stages
from ragtune.terminal import say, say_table

STAGES = 5  # beside the trainings: check, index, look, templates, evaluation


@dataclass(frozen=True)
class Bakeoff:
    """One bake-off. It does as much as fits into `budget` seconds, or exactly the `effort` that is given.

    `shown` are templates (without passages, with passages) for tasks that come with their own. `allow_leaks` goes on
    where held-out examples are trained on, `retry_failed` asks again what failed in an earlier evaluation.
    """

    name: str
    place: Workplace
    docs: Path
    index: str
    tasks: tuple[Task, ...]
    budget: float | None
    effort: Effort | None = None
    techniques: tuple[str, ...] = ()
    shown: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    allow_leaks: bool = False
    retry_failed: bool = False

    def run(self, stages: Stages | None = None) -> Outcome:
        """All stages, those that are up to date left as they are; after those already in `stages`.

        Raises RefusedArtifact for a folder of something else, InvalidRequest if the budget is too short for anything,
        and RagtuneError if the evaluator refuses the suite (a leak, a metric), or the index, the service or the
        evaluation fails.
        """
        self.place.files.claim()
        self.place.files.lay_out(self.tasks)
        stages = stages or Stages(self.place.files.record, None)
        self._check(stages, self.tasks, "what is asked, checked")
        index = stages.run("the knowledge index", self.place.inputs(self.docs), self.place.there("index"), self._index)
        estimator = self._as_served(stages, self._look(stages, index))
        kept = self._plan_file(estimator)
        made = self._plan(estimator, stages, kept)
        stages.total = stages.total or STAGES + len(made.trainings) + (estimator.tasks != self.tasks)
        evaluation = Evaluation(
            *(self.place, stages, estimator, self.name, self.shown, self.comparisons),
            retry_failed=self.retry_failed,
            allow_leaks=self.allow_leaks,
        )
        templates = evaluation.templates()
        trainings = Trainings(self.place, stages, estimator, index, self.budget)
        made = trainings.carry_out(made, kept.write)
        versions = templates | trainings.made
        arms = evaluation.ask(made, trainings.trained, [*versions.values(), index], self.budget)
        self._tell_time(stages)
        return Outcome(
            folder=self.place.files.folder,
            plan=made,
            stages=stages.bill,
            failed=tuple(trainings.failed),
            sampled={task.name: sampled(arms, task.name) for task in self.tasks},
            best=bests(read_rulings(self.place.files.report), arms, versions),
            page=self.place.files.page,
            evaluation=json.loads(self.place.files.report.read_text(encoding="utf-8")),
        )

    def _check(self, stages: Stages, tasks: Sequence[Task], stage: str) -> None:
        """Have the evaluator look at all that might be asked, so that it refuses nothing once there are trainings."""
        files, flags = self.place.files, ("--allow-leaks",) if self.allow_leaks else ()
        files.draft.write_text(draft(self.name, tasks, files, self.comparisons), encoding="utf-8")

        def work() -> str:
            self.place.command("eval", "run", near(files.draft), "--check", *flags)
            return "nothing speaks against it"

        parts = [part for task in tasks for part in (files.train(task.name), files.heldout(task.name))]
        stages.run(stage, self.place.inputs(files.draft, *parts, *flags), lambda _: True, work)

    def _as_served(self, stages: Stages, seen: Probe) -> Estimator:
        """With the tasks as they are asked: those that retrieval serves without the texts their questions bring."""
        served = Estimator(self.tasks, seen).served()
        tasks = tuple(without_contexts(task, self.docs) if served[task.name] else task for task in self.tasks)
        changed = [(before, after) for before, after in zip(self.tasks, tasks, strict=True) if before != after]
        for before, after in changed:
            say(told(before, after))
        if changed:
            self.place.files.lay_out(tasks)
            self._check(stages, tasks, "what is asked without contexts, checked")
        return Estimator(tasks, seen)

    def _index(self) -> str:
        self.place.command("index", "build", near(self.docs), "--name", self.index)
        return self.place.current("index", self.index)

    def _look(self, stages: Stages, index: str) -> Probe:
        """How fast it is here, and which tasks retrieval serves: from training questions alone."""
        found = self.place.files.folder / "probe.json"

        def work() -> str:
            say("$ ragtune serve")
            with self.place.commands.serve(self.place.files.folder / "server.log"):
                seen = probe(posting(target(Settings(home=self.place.files.home))), self.index, self.tasks)
            found.write_text(seen.model_dump_json(indent=2) + "\n", encoding="utf-8")
            return f"{seen.tokens_per_second:.0f} tokens/s"

        inputs = self.place.inputs(index, *(self.place.files.train(task.name) for task in self.tasks))
        stages.run("a look at the service", inputs, lambda _: found.exists(), work)
        seen = Probe.model_validate_json(found.read_text(encoding="utf-8"))
        for task in self.tasks:
            _tell(task, seen)
        return seen

    def _plan_file(self, estimator: Estimator) -> PlanFile:
        asked = json.dumps([self.budget, self.techniques, self.effort and self.effort.model_dump()])
        inputs = self.place.inputs(asked, estimator.probe.model_dump_json(), *(task.name for task in self.tasks))
        return PlanFile(self.place.files.folder / "plan.json", inputs)

    def _plan(self, estimator: Estimator, stages: Stages, kept: PlanFile) -> Plan:
        """The plan an earlier run made from the same, else a new one; shown before anything of it begins."""
        made = kept.read()
        if made is None and self.effort is not None:
            made = planned(estimator, self.effort)
        elif made is None:
            assert self.budget is not None
            made = plan(estimator, self.budget - stages.spent, self.techniques)
        kept.write(made)
        title = "The plan" if self.budget is None else f"The plan for {in_minutes(self.budget)}"
        done = {name: done.seconds for name, done in stages.bill.items()}
        say_table(("what", "how", "minutes, about"), rows(made, done), title=title)
        for left in made.left_out:
            say(f"left out: {left.what} ({left.why})")
        return made

    def _tell_time(self, stages: Stages) -> None:
        if self.budget is not None and stages.spent > self.budget:
            say(f"that took {in_minutes(stages.spent)}, {in_minutes(stages.spent - self.budget)} over the budget")


def _tell(task: Task, seen: Probe) -> None:
    """What decides how the task's adapters are trained."""
    found, searched = seen.tasks[task.name].found, seen.tasks[task.name].searched
    how = "adapters are trained on retrieved passages" if found >= SERVED else "adapters are trained closed-book"
    if task.labels and not task.listed:
        say(f"{task.name}: {len(task.labels)} labels are too many to be listed in prompts; only their form is told")
    say(
        f"{task.name}: the index answers {100 * found:.0f} % of {searched} training questions, so {how}; "
        f"scored by {', '.join(task.metrics)} (answers: {task.kind})"
    )
