"""What is trained: a model, which of its parameters learn, and how they are saved."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.lora import HEAD

Model: TypeAlias = "PreTrainedModel | PeftModel"


class Files(Protocol):
    """How a technique is written, and read again by its own library.

    `quantised`: it trains on a base model in fewer bits than the one it is served on.
    """

    @property
    def quantised(self) -> bool: ...

    def save(self, model: Model, folder: Path) -> None:
        """Write what was learned into `folder`, in the library's own format, without any path of this machine."""
        ...

    def reload(self, folder: Path) -> Model:
        """What `save` wrote, on a fresh base model that computes as the one in training did; evaluation mode."""
        ...

    def plain(self, folder: Path) -> Model:
        """The same as anyone loads it: on the plain base model, in fp32; evaluation mode."""
        ...


@dataclass(frozen=True)
class Trainee:
    """A model to train. `description` says in words what learns, for whoever watches."""

    model: Model
    base: BaseModelInfo
    files: Files
    description: str

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name: what a checkpoint has to hold of the model.

        They are the encoder's where there is one (P-tuning, a projected prefix): what is saved is baked from it.
        """
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def trainable(self) -> int:
        """How many numbers learn."""
        return sum(parameter.numel() for parameter in self.learned.values())

    @property
    def total(self) -> int:
        """Numbers of the base model, and those that the technique adds."""
        shapes = {name: shape for name, shape in self.base.shapes.items() if not (self.base.tied and name in _HEADS)}
        added = self.trainable if isinstance(self.model, PeftModel) else 0
        return sum(map(prod, shapes.values())) + added

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return next(iter(self.learned.values())).device

    def copy(self) -> dict[str, Tensor]:
        """The values of all that learns, to come back to with `take`; on the CPU."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.learned.items()}

    def take(self, values: dict[str, Tensor]) -> None:
        """Put values back that `copy` gave."""
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(values[name])

    def save(self, folder: Path) -> None:
        """Write PEFT's files, or a model folder, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.files.save(self.model, folder)


_HEADS = (f"{HEAD}.weight",)
