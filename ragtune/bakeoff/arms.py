"""Who is compared: by default the base model, a prompt, retrieval, every trained adapter, and each of them with
retrieval; and the controls that say where an error or a gain comes from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtune.bakeoff.task import Task
from ragtune.bakeoff.technique import TECHNIQUES

Context = Literal["retrieved", "none", "gold", "gold+distractors", "wrong"]
FEW, SAMPLE = 20, 30  # questions for an arm that was not made for the task, and for controls
LADDER: tuple[Context, ...] = ("none", "gold", "gold+distractors", "wrong")
INSTRUCTED = "base, told the form"
LIKELIHOODS = frozenset(("choice_accuracy", "choice_accuracy_per_token", "perplexity"))
"""Metrics of log-probabilities, which are not told of passages that are given; a test holds them against `eval`."""


@dataclass(frozen=True)
class Trained:
    """An adapter that is there: of which task, by which technique."""

    task: str
    technique: str

    @property
    def adapter(self) -> str:
        """Its name."""
        return TECHNIQUES[self.technique].adapter(self.task)


@dataclass(frozen=True)
class Arm:
    """One arm and how many questions of each task it is asked. It can be served as it is unless it is a `control`."""

    mode: str
    items: Mapping[str, int]
    label: str = ""
    context: Context = "retrieved"
    instruction: str = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.label or self.mode

    @property
    def control(self) -> bool:
        """Whether it is there to explain the others, and is nothing that one could ask for in a mode."""
        return self.context != "retrieved" or bool(self.instruction)


def arms(
    tasks: Sequence[Task],
    served: Mapping[str, bool],
    templates: Mapping[str, tuple[str, str]],
    trained: Sequence[Trained],
    *,
    items: int,
    combined: bool,
    helped: Collection[str] = (),
) -> list[Arm]:
    """All arms, each mode once.

    `served` says of each task whether retrieval serves it, `helped` are others whose questions it answers now and then,
    `templates` which template each has without and with passages. What does not fit (retrieval where it never helps, an
    adapter without the passages it was trained on) is asked FEW. `combined` adds a LoRA and a soft prompt together.
    """

    def asked(fits: bool) -> int:
        return items if fits else min(items, FEW)

    found = [
        Arm("base", {task.name: items for task in tasks}),
        Arm("rag", {task.name: asked(served[task.name] or task.name in helped) for task in tasks}),
    ]
    for task in tasks:
        name, serves = task.name, served[task.name]
        retrieves = serves or name in helped
        plain, passages = templates[name]
        adapters = [one.adapter for one in trained if one.task == name]
        if combined and {"lora", "soft-prompt"} <= {one.technique for one in trained if one.task == name}:
            adapters.append("+".join(TECHNIQUES[technique].adapter(name) for technique in ("lora", "soft-prompt")))
        found.append(Arm(f"prompt:{plain}", {name: asked(not serves)}))
        found.append(Arm(f"prompt:{passages}+rag", {name: asked(retrieves)}))
        for adapter in adapters:
            found.append(Arm(adapter, {name: asked(not serves)}))
            found.append(Arm(f"{adapter}+rag", {name: asked(retrieves)}))
    return found + _controls(tasks, served, items)


def sampled(asked: Sequence[Arm], task: str) -> tuple[str, ...]:
    """Arms, controls aside, that were asked only a part of a task, so that a verdict cannot choose them."""
    most = max(arm.items.get(task, 0) for arm in asked)
    return tuple(arm.name for arm in asked if not arm.control and 0 < arm.items.get(task, 0) < most)


def _controls(tasks: Sequence[Task], served: Mapping[str, bool], items: int) -> list[Arm]:
    """The base model told what form an answer has; and retrieval with other passages than it found."""
    few = min(items, SAMPLE)
    told = [
        Arm("base", {task.name: few}, f"{INSTRUCTED} of {task.name}", instruction=task.instruction) for task in tasks
    ]
    on = {
        task.name: few
        for task in tasks
        if served[task.name] and task.names_documents and LIKELIHOODS.isdisjoint(task.metrics)
    }
    return told + ([Arm("rag", on, f"rag, {context}", context=context) for context in LADDER] if on else [])
