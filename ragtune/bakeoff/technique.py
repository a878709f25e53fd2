"""The techniques of a bake-off, in the order in which they are useful to know about, and their recipes.

Every training of a task has the same data, the same batches and the same number of steps. What differs is the
technique, and the learning rate: its usual one, or the better of the two given here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtune.bakeoff.task import Task
from ragtune.bakeoff.toml import Value, written
from ragtune.errors import UnknownName

_LOOKS = 2  # at the validation loss: the first is always a gain, so that no technique ends early


@dataclass(frozen=True)
class Technique:
    """One way to train. `cost` is the time of one token, that of a LoRA being 1: a guess from trainings of SmolLM2,
    put right by those of the bake-off itself. `rates` are tried where there is time; the first is the usual one."""

    name: str
    method: str
    cost: float
    rates: tuple[float, float]
    words: str

    def adapter(self, task: str) -> str:
        """What the adapter is called that it makes for a task."""
        return f"{task}-{self.name}"

    def recipe(self, task: Task, data: Path, heldout: Path, index: str | None, steps: int, batch_tokens: int) -> str:
        """The recipe's text; paths are relative to where it will stand, `index` is where it trains on passages."""
        values: dict[str, Value] = {"name": self.adapter(task.name), "method": self.method}
        values |= {"train": data, "heldout": heldout}
        if index is not None:
            values["index"] = index
        values |= {
            "epochs": 1000.0,  # the steps end it
            "max_steps": steps,
            "batch_tokens": batch_tokens,
            "evaluations": _LOOKS,
            "validation_limit": 16,
            "forgetting": False,  # saves half a minute each
            "learning_rate": self.rates[0],
        }
        if self.method == "prompt_tuning":
            values["prompt_tuning"] = {"virtual_tokens": 16, "init_text": task.instruction}
        return written(values, f"{self.words[0].upper()}{self.words[1:]}, for the task {task.name}.")


TECHNIQUES: Mapping[str, Technique] = {
    technique.name: technique
    for technique in (
        Technique("lora", "lora", 1.0, (5e-4, 2e-3), "a LoRA on all linear layers"),
        Technique("soft-prompt", "prompt_tuning", 0.95, (2e-2, 5e-2), "a soft prompt of 16 virtual tokens"),
        Technique("partial", "partial", 0.75, (1e-4, 5e-4), "a fine-tune of the last eight layers"),
        Technique("full", "full", 1.15, (5e-5, 2e-4), "a fine-tune of everything"),
        Technique("dora", "dora", 1.4, (5e-4, 2e-3), "a DoRA on all linear layers"),
        Technique("ia3", "ia3", 0.95, (5e-3, 2e-2), "factors on keys, values and inner activations (IA3)"),
        Technique("p-tuning", "p_tuning", 0.95, (3e-4, 1e-3), "virtual tokens through an encoder (P-tuning)"),
        Technique("prefix", "prefix_tuning", 0.95, (2e-2, 5e-2), "learned keys and values of every layer"),
    )
}
DEFAULT = ("lora", "soft-prompt", "partial")
"""What is trained first; the others where there is time, in their order."""


def chosen(names: Sequence[str]) -> tuple[Technique, ...]:
    """Techniques by name, in the order of usefulness. Raises UnknownName with near matches."""
    for name in names:
        if name not in TECHNIQUES:
            raise UnknownName.among("technique", name, TECHNIQUES)
    return tuple(technique for name, technique in TECHNIQUES.items() if name in names)
