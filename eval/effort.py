"""The equal-effort audit: what differs between arms besides the technique. Pure.

A technique that was given more learning rates, more steps or more passages than another may win by that alone.
"""

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from eval.costs import Cost, Once
from eval.figures import NOTHING
from eval.runfile import Trained
from eval.suite import Arm, Suite, Task

_FEW = 0.02  # retries a request, up to which they are called equal
_ALIKE = 1.1  # prompts whose lengths differ by less than a tenth are called equal


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Effort(_Frozen):
    """What one arm was given. `trained` is None for an arm without an adapter."""

    arm: str
    trained: Trained | None
    index: str | None
    passages: float | None
    prompt_tokens: float | None
    instruction: bool
    asked: int
    retries: int


class Aspect(_Frozen):
    """One thing that should be equal, over the arms it concerns; `equal` is None where it is not recorded of all."""

    name: str
    equal: bool | None
    words: str


class Audit(_Frozen):
    """What to conclude of the candidates of a task."""

    task: str
    aspects: tuple[Aspect, ...]


def effort(arm: Arm, cost: Cost, once: Once, asked: int, retries: int) -> Effort:
    """The row of one arm."""
    return Effort(
        arm=arm.name,
        trained=once.trained,
        index=once.indexed.version if once.indexed else None,
        passages=cost.passages,
        prompt_tokens=cost.prompt_tokens,
        instruction=bool(arm.instruction),
        asked=asked,
        retries=retries,
    )


def audit(suite: Suite, task: Task, candidates: Sequence[Effort]) -> Audit:
    """What is equal over the candidates of a task, and what is not. Controls differ on purpose and are none."""
    trained = [(found.arm, found.trained) for found in candidates if found.trained]
    aspects = []
    if len(trained) > 1:
        aspects = [
            _trained("learning rates searched", trained, lambda bill: _count(bill.rates)),
            _trained("optimiser steps", trained, lambda bill: _count(bill.steps)),
            _trained("training examples", trained, lambda bill: _count(bill.examples)),
            _trained("training data", trained, lambda bill: bill.data, brief),
        ]
    return Audit(task=task.name, aspects=(*aspects, *_context(candidates), *_asking(suite, task, candidates)))


def brief(data: str) -> str:
    """The beginning of each hash: enough for people to tell them apart."""
    return "+".join(one[:8] for one in data.split("+"))


def _as_it_is(value: str) -> str:
    return value


def _trained(
    name: str,
    trained: Sequence[tuple[str, Trained]],
    read: Callable[[Trained], str | None],
    write: Callable[[str], str] = _as_it_is,
) -> Aspect:
    return _aspect(name, [(arm, read(bill)) for arm, bill in trained], write)


def _context(efforts: Sequence[Effort]) -> list[Aspect]:
    """Arms that retrieve should read as much."""
    reading = [found for found in efforts if found.passages]
    if len(reading) < 2:
        return []
    found = [_aspect("passages a prompt", [(each.arm, f"{each.passages or 0:.1f}") for each in reading])]
    lengths = [each.prompt_tokens for each in reading if each.prompt_tokens]
    told = [(each.arm, _count(each.prompt_tokens)) for each in reading]
    near = len(lengths) == len(reading) and max(lengths) <= _ALIKE * min(lengths)
    prompts = _aspect("prompt tokens of arms that retrieve", told)
    if near:
        words = f"{min(lengths):.0f} to {max(lengths):.0f}"
        prompts = Aspect(name=prompts.name, equal=True, words=words)
    return [*found, prompts, _aspect("index", [(each.arm, each.index) for each in reading])]


def _asking(suite: Suite, task: Task, efforts: Sequence[Effort]) -> list[Aspect]:
    lengths = f"{task.max_tokens} new tokens at most"
    seeds = "one seed" if len(suite.seeds) == 1 else f"{len(suite.seeds)} seeds"
    decoding = Aspect(name="decoding", equal=True, words=f"temperature {suite.temperature:g}, {seeds}, {lengths}")
    instructed = [found.arm for found in efforts if found.instruction]
    told = f"only {', '.join(instructed)}" if instructed else "no arm"
    instruction = Aspect(name="instruction after the question", equal=not instructed, words=told)
    retries = _retries(efforts)
    asked = _aspect("questions asked", [(found.arm, str(found.asked)) for found in efforts])
    return [decoding, instruction, asked, retries]


def _retries(efforts: Sequence[Effort]) -> Aspect:
    """A repeated request gains an arm nothing, unless what fails is what is hard."""
    most = max((found.retries / found.asked for found in efforts if found.asked), default=0.0)
    if most <= _FEW:
        return Aspect(name="requests repeated", equal=True, words=f"at most {100 * most:.1f} % of any mode's")
    return _aspect("requests repeated", [(found.arm, str(found.retries)) for found in efforts])


def _aspect(name: str, told: Sequence[tuple[str, str | None]], write: Callable[[str], str] = _as_it_is) -> Aspect:
    """Equal if all have the same; arms that have the same are named together."""
    groups: dict[str, list[str]] = {}
    for arm, value in told:
        groups.setdefault(value or NOTHING, []).append(arm)
    if len(groups) == 1 and NOTHING not in groups:
        return Aspect(name=name, equal=True, words=write(next(iter(groups))))
    words = "; ".join(
        f"{'not recorded' if value == NOTHING else write(value)}: {', '.join(arms)}" for value, arms in groups.items()
    )
    known = [value for value in groups if value != NOTHING]
    return Aspect(name=name, equal=False if len(known) > 1 else None, words=words)


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"
