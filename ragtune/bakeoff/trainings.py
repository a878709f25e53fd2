"""Training one technique after the other within the time there is: what fails is written down, what no longer fits is
left out, and both are said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ragtune.bakeoff.arms import Trained
from ragtune.bakeoff.plan import LEAST_ITEMS, Effort, Estimator, LeftOut, Plan, Training, in_minutes
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.technique import TECHNIQUES
from ragtune.bakeoff.workplace import Workplace, near
from ragtune.errors import DeadlineExceeded, RagtuneError
from ragtune.stages import Stages
from ragtune.terminal import say


@dataclass
class Trainings:
    """Carries out a plan's trainings. `made` are versions by adapter, `failed` what did not work, and why.

    `budget` is in seconds since the start of `stages`; None is without end.
    """

    place: Workplace
    stages: Stages
    estimator: Estimator
    index: str
    budget: float | None
    made: dict[str, str] = field(default_factory=dict)
    trained: list[Trained] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)

    def carry_out(self, plan: Plan, keep: Callable[[Plan], None]) -> Plan:
        """All of them that fit; the plan without those that did not, which `keep` hears of at once."""
        for task in self.estimator.tasks:
            self._lay_out(task, plan.effort.steps)
        paces: list[tuple[float, float]] = []
        for training in plan.trainings:
            name, began = self._name(training), datetime.now(UTC).isoformat(timespec="milliseconds")
            try:
                self._one(training, plan.effort, self._limit(training, _pace(paces)))
            except DeadlineExceeded as error:
                say(f"left out: {error.message}")
                plan = plan.without(training, error.message)
                keep(plan)
            except RagtuneError as error:  # one technique that fails must not take the others' figures with it
                why = self.place.why_failed(training.adapter, began) or error.message
                say(f"{name} failed, the rest goes on: {why}")
                self.failed.append(LeftOut(what=name, why=why))
            else:
                paces.append((self.stages.bill[name].seconds, training.seconds))
        return plan

    def _lay_out(self, task: Task, steps: int) -> None:
        """What is searched and tokenised for a training is then in proportion to its steps, as the plan takes it."""
        count = self.estimator.seen(task, steps)
        self.place.files.lay_out_seen(task, count)
        if count < len(task.train):
            say(
                f"{task.name}: {count:,} of {len(task.train):,} examples are drawn to train on; {steps} steps see fewer"
            )

    def _one(self, training: Training, effort: Effort, limit: Callable[[], float | None]) -> None:
        task = self._task(training)
        technique, adapter = TECHNIQUES[training.technique], training.adapter
        data, recipe = self.place.files.seen(task.name), self.place.files.recipe(adapter)
        index = self.index.partition("@")[0] if training.passages else None
        heldout = Path("..") / self.place.files.heldout(task.name).name
        text = technique.recipe(task, Path("..") / data.name, heldout, index, effort.steps, training.batch_tokens)
        recipe.write_text(text, encoding="utf-8")
        rates = ",".join(f"{rate:g}" for rate in technique.rates)
        search = ("--search", rates) if effort.rates > 1 else ()
        inputs = self.place.inputs(text, data, *([self.index] if index else []), *search)

        def work() -> str:
            self.place.command("train", near(recipe), *search, limit=limit())
            return self.place.current("adapter", adapter)

        version = self.stages.run(self._name(training), inputs, self.place.there("adapter"), work)
        self.made[adapter] = version
        self.trained.append(Trained(training.task, training.technique))

    def _limit(self, training: Training, pace: float) -> Callable[[], float | None]:
        """How long it may take once it begins. The call raises DeadlineExceeded if it would not be done by then."""

        def limit() -> float | None:
            if self.budget is None:
                return None
            reserve = self._reserve(training)
            left, expected = self.budget - self.stages.spent - reserve, training.seconds * pace
            if expected > left:
                raise DeadlineExceeded(
                    f"{training.adapter} would take {in_minutes(expected)}, and {in_minutes(max(0.0, left))} of the "
                    f"budget are left beside the {in_minutes(reserve)} of the evaluation"
                )
            return left

        return limit

    def _reserve(self, training: Training) -> float:
        """What the least evaluation takes once this one is trained, too."""
        trained = [*self.trained, Trained(training.task, training.technique)]
        return self.estimator.evaluation(Effort(items=LEAST_ITEMS), trained)

    def _task(self, training: Training) -> Task:
        return next(task for task in self.estimator.tasks if task.name == training.task)

    @staticmethod
    def _name(training: Training) -> str:
        return f"{training.adapter}: {TECHNIQUES[training.technique].words}"


def _pace(paces: Sequence[tuple[float, float]]) -> float:
    """How much longer trainings took than expected, so far."""
    return sum(took for took, _ in paces) / sum(expected for _, expected in paces) if paces else 1.0
