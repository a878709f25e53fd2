"""One optimiser step, and the rate it is made at."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from adapters.answer_loss import answer_tokens, loss_sum
from adapters.dataset import Item, filled
from adapters.recipe import Recipe
from adapters.techniques.trainee import Model, Trainee

Batches = Sequence[Sequence[Item]]  # what one optimiser step sees
Plan = Sequence[Batches]

# Tokens, padding included. Activations take the memory of one piece instead of a batch, 2.5 GB in all instead of 5.4
# for four rows of 512 tokens (SmolLM2, LoRA), and a CPU's matrix products are no faster with more rows: a step in
# pieces of 1,024 took 2 % less time, one in pieces of 256 took 6 % more.
_PIECE = 512


def optimiser_for(trainee: Trainee, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); what has one dimension (norms, biases, magnitudes) does not decay."""
    parameters = list(trainee.learned.values())
    groups = [
        {"params": [parameter for parameter in parameters if parameter.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]])


def optimise(
    model: Model, batches: Batches, optimiser: torch.optim.Optimizer, rate: float, max_norm: float, pad: int
) -> tuple[float, float]:
    """One step over all its batches: the loss before it, as one mean over all its answer tokens, and the norm of the
    gradient. If either is not finite, no step was made."""
    tokens = sum(map(answer_tokens, batches))
    model.train()
    total: float = 0.0
    for piece in pieces(batches, model.device):
        loss = loss_sum(model, piece, pad) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = nn.utils.clip_grad_norm_(_parameters(optimiser), max_norm).item()
    if math.isfinite(total) and math.isfinite(norm):  # clipping an infinite gradient to zero would train nothing
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return total, norm


def pieces(batches: Batches, device: torch.device) -> Iterator[Sequence[Item]]:
    """What goes through the model at once: a batch, on a CPU in pieces of like length of at most _PIECE tokens.

    The step they make together is that of the whole batch. An item longer than that is a piece of its own.
    """
    for batch in batches:
        if device.type == "cpu":
            yield from filled(batch, _PIECE)
        else:
            yield batch


def factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """What the learning rate is multiplied with in `step` (from 0) of `total`.

    transformers' schedules of these names, but for the warm-up, which they begin at a rate of zero: a step in vain.
    """
    rise = round(total * warmup)
    if step < rise:
        return (step + 1) / (rise + 1)
    gone = (step - rise) / max(1, total - rise)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * gone))
    return 1.0 if schedule == "constant" else 1 - gone


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
