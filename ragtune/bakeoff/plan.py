"""What is done in a budget of time. Plain arithmetic: the same measurements give the same plan.

The least is planned first (one training a task, few questions), then as much as fits is added in the order of WISHES,
which is that of usefulness. Every technique gets the same number of steps, whatever that comes to.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from ragtune.bakeoff.arms import Arm, Trained, arms
from ragtune.bakeoff.probe import Probe
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.technique import DEFAULT, TECHNIQUES, Technique
from ragtune.errors import InvalidRequest

LEAST_ITEMS = 30
ALONE = 4  # questions of each arm asked one at a time
_ROWS = 3  # examples of a batch, about
_PACE = 0.5  # tokens a second of training a LoRA, over those of the service: 190 over 400 where it was measured
_AROUND = 18.0  # seconds of every training beside its steps: loading, checking, trying on the engine, publishing
_VALIDATION = 2 * 16 / 3  # examples looked at, as trained ones: forward is a third of the work
_START = 15.0  # seconds until a service answers
_FULL_PACE = 1.4  # an evaluation over the look at the service, as prompts begin alike: 1.7 where it was measured
_ALONE_PACE = 5.0  # a request alone takes so many times its share of a full batch: 4 where it was measured
_FEW_WORDS = "fewer where an arm was not made for it"
_SPARE, _ASIDE = 1.5, 40  # times the examples that steps see, as some are shorter; and those kept aside to validate
_AT_ONCE, _SHARE = 48, 0.5  # requests at most, and what share of its timeout one may take while so many are under way
_TRIED = 8  # steps of each rate that is tried, or a quarter of the training's


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Effort(_Frozen):
    """How much is done: the `steps` of every training, the `items` of a task asked of an arm, learning `rates` tried,
    the `techniques`, and whether a LoRA and a soft prompt are asked together."""

    steps: int = 24
    items: int = LEAST_ITEMS
    rates: int = 1
    techniques: tuple[str, ...] = DEFAULT
    combined: bool = False


class Training(_Frozen):
    """One training to come: its adapter, and the seconds it is expected to take."""

    task: str
    technique: str
    batch_tokens: int
    passages: bool
    seconds: float

    @property
    def adapter(self) -> str:
        """What it makes."""
        return TECHNIQUES[self.technique].adapter(self.task)


class LeftOut(_Frozen):
    """What is not done, and why."""

    what: str
    why: str


class Plan(_Frozen):
    """All that is to come. Seconds are expected ones; `left_out` says what is not done."""

    effort: Effort
    trainings: tuple[Training, ...]
    evaluation: float
    left_out: tuple[LeftOut, ...] = ()

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(training.seconds for training in self.trainings) + self.evaluation

    def without(self, training: Training, why: str) -> "Plan":
        """The same, one training left out."""
        kept = tuple(other for other in self.trainings if other != training)
        out = (*self.left_out, LeftOut(what=f"{training.technique} for {training.task}", why=why))
        return self.model_copy(update={"trainings": kept, "left_out": out})


_Wish = Callable[[Effort], Effort]


def _set(**changes: object) -> _Wish:
    return lambda effort: effort.model_copy(update=changes)


WISHES: tuple[_Wish, ...] = (
    _set(steps=32),
    _set(items=40),
    _set(steps=48),
    _set(items=60),
    _set(steps=64),
    _set(items=100),
    _set(rates=2),
)
"""In the order of usefulness; then come further techniques, one after the other, and then still more of the same."""
_MORE: tuple[_Wish, ...] = (_set(combined=True), _set(steps=96), _set(items=150), _set(steps=128), _set(steps=192))


@dataclass(frozen=True)
class Estimator:
    """How long things take, from what the probe saw."""

    tasks: Sequence[Task]
    probe: Probe

    def served(self) -> dict[str, bool]:
        """Which tasks retrieval serves."""
        return {task.name: self.probe.tasks[task.name].served for task in self.tasks}

    def helped(self) -> frozenset[str]:
        """Tasks that passages may help, served or not."""
        return frozenset(task.name for task in self.tasks if self.probe.tasks[task.name].helped)

    def seen(self, task: Task, steps: int) -> int:
        """How many training examples `steps` can see, and some to spare; all, where there are no more."""
        examples = _SPARE * steps * self.batch_tokens(task) / max(1.0, self._example_tokens(task)) + _ASIDE
        return min(len(task.train), math.ceil(examples))

    def at_once(self, timeout: float) -> int:
        """How many requests under way together are answered well within `timeout` seconds: one at least."""
        longest = max(self._question_tokens(task, passages=True) for task in self.tasks)
        return min(_AT_ONCE, max(1, int(_SHARE * timeout * self.probe.tokens_per_second / max(1.0, longest))))

    def batch_tokens(self, task: Task) -> int:
        """Of a batch of a task's trainings: room for three examples, in hundreds, between 200 and 2,000."""
        return min(2000, max(200, 100 * math.ceil(_ROWS * self._example_tokens(task) / 100)))

    def training(self, task: Task, technique: Technique, effort: Effort) -> Training:
        """One training with the seconds it takes."""
        batch = self.batch_tokens(task)
        tried = max(_TRIED, effort.steps // 4) * effort.rates if effort.rates > 1 else 0
        tokens = (effort.steps + tried) * batch + _VALIDATION * self._example_tokens(task) * effort.rates
        seconds = _AROUND + tokens * technique.cost / (self.probe.tokens_per_second * _PACE)
        return Training(
            task=task.name,
            technique=technique.name,
            batch_tokens=batch,
            passages=self.probe.tasks[task.name].served,
            seconds=seconds,
        )

    def trainings(self, effort: Effort) -> tuple[Training, ...]:
        """All trainings, one technique of every task after the other."""
        return tuple(self.training(task, TECHNIQUES[name], effort) for name in effort.techniques for task in self.tasks)

    def evaluation(self, effort: Effort, trained: Sequence[Trained]) -> float:
        """Seconds to ask every arm."""
        names = {task.name: (f"{task.name}-few-shot", f"{task.name}-few-shot-passages") for task in self.tasks}
        found = self.arms(names, trained, effort.items, combined=effort.combined)
        return _START + sum(self._arm(arm) for arm in found) / _FULL_PACE

    def arms(
        self, templates: Mapping[str, tuple[str, str]], trained: Sequence[Trained], items: int, *, combined: bool
    ) -> list[Arm]:
        """Who is asked, `items` of each task at most; `templates` as `arms` takes them."""
        served, helped = self.served(), self.helped()
        return arms(self.tasks, served, templates, trained, items=items, combined=combined, helped=helped)

    def _arm(self, arm: Arm) -> float:
        seconds = 0.0
        for task in self.tasks:
            items = _asked(task, arm.items.get(task.name, 0))
            parts = arm.mode.split("+")
            shown = not {"base", "rag"}.issuperset(parts)  # it has learned, or was shown, how long an answer is
            one = self._question_tokens(task, passages="rag" in parts, brief=shown) / self.probe.tokens_per_second
            alone = 0 if arm.control else min(items, ALONE + 1)  # one warms up
            seconds += items * one + alone * one * _ALONE_PACE / len(arm.items)
        return seconds

    def _question_tokens(self, task: Task, *, passages: bool, brief: bool = False) -> float:
        probed = self.probe.tasks[task.name]
        answer = min(probed.new_tokens, task.answer_tokens) if brief else probed.new_tokens
        return (probed.passage_tokens if passages else probed.prompt_tokens) + answer

    def _example_tokens(self, task: Task) -> float:
        probed = self.probe.tasks[task.name]
        return (probed.passage_tokens if probed.served else probed.prompt_tokens) + probed.new_tokens / 2


def _asked(task: Task, limit: int) -> int:
    """How many that is, as a limit counts for each slice."""
    return sum(min(limit, size) for size in Counter(example.slice for example in task.heldout).values())


def planned(estimator: Estimator, effort: Effort) -> Plan:
    """This effort, whatever it takes."""
    trainings = estimator.trainings(effort)
    trained = [Trained(training.task, training.technique) for training in trainings]
    return Plan(effort=effort, trainings=trainings, evaluation=estimator.evaluation(effort, trained))


def plan(estimator: Estimator, left: float, asked: Sequence[str] = ()) -> Plan:
    """The most that fits into `left` seconds, of the techniques `asked` for, or as many as fit if none is named.

    Raises InvalidRequest, with the minutes it would take, if not even one technique fits.
    """
    first = tuple(asked) or DEFAULT
    tried = [planned(estimator, Effort(techniques=first[:count])) for count in range(len(first), 0, -1)]
    fitting = next((made for made in tried if made.seconds <= left), None)
    if fitting is None:
        raise _too_short(tried[-1], left)
    best = fitting
    for wish in _wishes(asked):
        larger = planned(estimator, wish(best.effort))
        if larger.seconds <= left and _more(larger.effort, best.effort):
            best = larger
    return best.model_copy(update={"left_out": tuple(_left_out(estimator, best, asked))})


def _wishes(asked: Sequence[str]) -> Iterator[_Wish]:
    yield from WISHES
    if not asked:
        yield from (_adding(name) for name in TECHNIQUES if name not in DEFAULT)
    yield from _MORE


def _adding(name: str) -> _Wish:
    return lambda effort: effort.model_copy(
        update={"techniques": tuple(n for n in TECHNIQUES if n in (*effort.techniques, name))}
    )


def _more(larger: Effort, effort: Effort) -> bool:
    """Steps and items never become fewer by a wish, as they would where one that did not fit is passed over."""
    return larger != effort and larger.steps >= effort.steps and larger.items >= effort.items


def _left_out(estimator: Estimator, best: Plan, asked: Sequence[str]) -> Iterator[LeftOut]:
    effort = best.effort
    for name in asked or TECHNIQUES:
        if name not in effort.techniques:
            more = planned(estimator, _adding(name)(effort)).seconds - best.seconds
            yield LeftOut(what=f"{name}: {TECHNIQUES[name].words}", why=f"takes {in_minutes(more)} more")
    if effort.rates == 1:
        more = planned(estimator, effort.model_copy(update={"rates": 2})).seconds - best.seconds
        yield LeftOut(what="a second learning rate for every training", why=f"takes {in_minutes(more)} more")
    if not effort.combined and {"lora", "soft-prompt"} <= set(effort.techniques):
        more = planned(estimator, effort.model_copy(update={"combined": True})).seconds - best.seconds
        yield LeftOut(what="a LoRA and a soft prompt together", why=f"takes {in_minutes(more)} more")
    for task in estimator.tasks:
        if _asked(task, effort.items) < len(task.heldout):
            what = f"held-out questions of {task.name} beyond {effort.items} of each slice"
            yield LeftOut(what=what, why=f"there are {len(task.heldout)}")


def _too_short(least: Plan, left: float) -> InvalidRequest:
    trainings = sum(training.seconds for training in least.trainings)
    return InvalidRequest(
        f"the budget is too short: {in_minutes(max(left, 0.0))} of it are left, and what is still to do needs at least "
        f"{in_minutes(least.seconds)}: {in_minutes(trainings)} for one technique ({least.effort.steps} steps a task), "
        f"{in_minutes(least.evaluation)} for {least.effort.items} questions of each task to every arm; "
        "raise --budget, what was done so far is kept"
    )


def in_minutes(seconds: float) -> str:
    """As in `2.5 min`, rounded up to a tenth."""
    return f"{math.ceil(seconds / 6 - 1e-9) / 10:.1f} min"


def rows(made: Plan, done: Mapping[str, float]) -> list[tuple[str, str, float | str]]:
    """The plan as a table: what, how, minutes; `done` are the seconds of what was already done."""
    effort, found = made.effort, []
    for name, seconds in done.items():
        found.append((name, "done", _minutes(seconds)))
    for training in made.trainings:
        where = "on retrieved passages" if training.passages else "closed-book"
        rates = f", {effort.rates} learning rates" if effort.rates > 1 else ""
        how = f"{effort.steps} steps of {training.batch_tokens} tokens, {where}{rates}"
        found.append((training.adapter, how, _minutes(training.seconds)))
    asked = f"{effort.items} questions of each task, {_FEW_WORDS}"
    found.append(("evaluation of every arm", asked, _minutes(made.evaluation)))
    return [*found, ("in all", "", _minutes(made.seconds + sum(done.values())))]


def _minutes(seconds: float) -> float:
    return math.ceil(seconds / 6 - 1e-9) / 10
