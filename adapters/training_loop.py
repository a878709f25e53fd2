"""The training loop: loss on the answers only, logits only where there are labels.

Batches are padded on the right. So positions need no correction, no row of the attention is fully masked, and a soft
prompt, which PEFT puts before the text without regard to position ids, sees just what it will see when served.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from adapters.dataset import Item, batches
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact


@dataclass(frozen=True)
class Step:
    """What one optimiser step did."""

    number: int
    loss: float
    tokens: int


def steps_of(recipe: Recipe, items: int) -> int:
    """Optimiser steps of a recipe over so many items."""
    return max(1, math.ceil(recipe.epochs * math.ceil(items / recipe.batch_size)))


def train(model: PeftModel, items: Sequence[Item], recipe: Recipe, pad: int) -> Iterator[Step]:
    """Train in place, yielding after every step. Raises RefusedArtifact if the loss stops being a number."""
    torch.manual_seed(recipe.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    total = steps_of(recipe, len(items))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total, recipe.warmup))
    model.train()
    for number, batch in zip(range(1, total + 1), _endless(items, recipe), strict=False):
        loss = batch_loss(model, batch, pad)
        if not torch.isfinite(loss):
            raise RefusedArtifact(
                f"the loss diverged at step {number} of {total}; nothing was published. "
                f"Try a learning_rate below {recipe.learning_rate:g}"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        yield Step(number, loss.item(), sum(item.length for item in batch))
    model.eval()


def batch_loss(model: PeftModel, batch: Sequence[Item], pad: int) -> Tensor:
    """Mean cross entropy over the answer tokens of the batch, as one scalar."""
    device = next(model.parameters()).device
    longest = max(item.length for item in batch)
    rows = [[*item.prompt, *item.answer, *[pad] * (longest - item.length)] for item in batch]
    # The logits at position i predict token i + 1; only positions some row needs are computed.
    needed = sorted({i for item in batch for i in range(len(item.prompt) - 1, item.length - 1)})
    column = {position: i for i, position in enumerate(needed)}
    output = model(
        input_ids=torch.tensor(rows, device=device),
        attention_mask=torch.tensor([[int(i < item.length) for i in range(longest)] for item in batch], device=device),
        logits_to_keep=torch.tensor(needed, device=device) + _virtual(model),
        use_cache=False,
    )
    at = [(r, column[i]) for r, item in enumerate(batch) for i in range(len(item.prompt) - 1, item.length - 1)]
    row, place = torch.tensor(at, device=device).T
    labels = torch.tensor([token for item in batch for token in item.answer], device=device)
    return F.cross_entropy(output.logits[row, place].float(), labels)


def _virtual(model: PeftModel) -> int:
    """Positions PEFT puts before the text, by which everything behind them moves."""
    return int(getattr(model.peft_config["default"], "num_virtual_tokens", 0) or 0)


def _endless(items: Sequence[Item], recipe: Recipe) -> Iterator[list[Item]]:
    epoch = 0
    while True:
        yield from batches(items, recipe.batch_size, seed=recipe.seed * 1000 + epoch)
        epoch += 1


def _rate(step: int, total: int, warmup: float) -> float:
    """Linear rise over the warm-up, then linear fall to zero, as a factor of the learning rate."""
    rise = max(1, round(total * warmup))
    return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))
