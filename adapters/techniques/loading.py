"""The base model to train, and the quiet that its libraries need."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from adapters.base_model import BaseModelInfo
from adapters.packed_linear import pack_frozen


def load_base(base: BaseModelInfo, *, packed: bool, device: str = "auto") -> PreTrainedModel:
    """The base model in fp32, frozen, on `device` (auto: CUDA where there is one); `packed` for speed, on the CPU."""
    model = load_model(base.folder, device)
    if packed:
        pack_frozen(model)
    return model


def load_model(folder: Path, device: str) -> PreTrainedModel:
    """A model folder in fp32, frozen, in evaluation mode."""
    logging.disable_progress_bar()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.to("cuda" if on_cuda(device) else "cpu").requires_grad_(False).eval()


def on_cuda(device: str) -> bool:
    """Whether `device`, as the settings name it, is a CUDA one."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


@contextmanager
def quiet() -> Iterator[None]:
    """Two warnings of PEFT 0.21 that mean nothing here: it asks transformers for a property by its old name, and drops
    position ids beside virtual tokens, which in a text without padding are those it counts itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        yield
