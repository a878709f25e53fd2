"""What a bake-off leaves: the verdict, which mode it names for each task, and what became of every stage."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from ragtune.bakeoff.arms import Arm
from ragtune.bakeoff.plan import LeftOut, Plan
from ragtune.errors import RagtuneError
from ragtune.stages import Done

BEST = "best"  # the mode alias that is offered


class Ruling(BaseModel):
    """The verdict on one task, as the evaluator gives it: the arm to take, and why in plain words."""

    task: str
    best: str | None = None
    chosen: str | None = None
    words: tuple[str, ...] = ()


class Best(BaseModel):
    """A mode alias that the verdict suggests, and the mode it would mean, with the versions that were evaluated."""

    model_config = ConfigDict(frozen=True)

    alias: str
    mode: str


class Outcome(BaseModel):
    """Where everything is, how long each stage took, what was left out and what failed, and the evaluation's report as
    `ragtune eval` gives it. `sampled` are by task the arms that were asked a part of it, and could not be chosen."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    plan: Plan
    stages: dict[str, Done]
    failed: tuple[LeftOut, ...]
    sampled: dict[str, tuple[str, ...]]
    best: tuple[Best, ...]
    page: Path
    evaluation: JsonValue


class _Report(BaseModel):
    verdicts: tuple[Ruling, ...] = ()


class _Evaluation(BaseModel):
    report: _Report


def read_rulings(file: Path) -> tuple[Ruling, ...]:
    """The verdicts in the JSON that `ragtune eval run --json` wrote. Raises RagtuneError if it is of another form."""
    try:
        return _Evaluation.model_validate(json.loads(file.read_text(encoding="utf-8"))).report.verdicts
    except ValueError as error:
        raise RagtuneError(f"the report in {file} cannot be read ({error}); run the bake-off again") from error


def bests(rulings: Sequence[Ruling], arms: Sequence[Arm], versions: Mapping[str, str]) -> tuple[Best, ...]:
    """The aliases to offer: `best`, or where tasks want different modes `best-TASK` for each.

    None for a task whose verdict names no arm, or one that is a control and no mode. `versions` pins the parts of a
    mode by their names.
    """
    modes = {arm.name: arm.mode for arm in arms if not arm.control}
    found = {ruling.task: modes[ruling.chosen] for ruling in rulings if ruling.chosen in modes}
    if len(set(found.values())) == 1 and len(found) == len(rulings):
        return (Best(alias=BEST, mode=_pinned(next(iter(found.values())), versions)),)
    return tuple(Best(alias=f"{BEST}-{task}", mode=_pinned(mode, versions)) for task, mode in found.items())


def _pinned(mode: str, versions: Mapping[str, str]) -> str:
    """With the versions of adapters and templates; the index goes on being the current one."""
    return "+".join(
        f"prompt:{versions.get(part.removeprefix('prompt:'), part.removeprefix('prompt:'))}"
        if part.startswith("prompt:")
        else versions.get(part, part)
        for part in mode.split("+")
    )
