"""The training loop: loss on the answers only, logits only where there are labels.

Batches are padded on the right and go without an attention mask: under causal attention no token sees the padding
behind it, positions need no correction, and the fast kernel without a mask serves. A soft prompt, which PEFT puts
before the text without regard to position ids, is seen just as it will be when served. Packing several examples into
one row with restarting positions was slower: 324 tokens/s against 528 (SmolLM2-135M, LoRA, 268 tokens an example,
1,100 a step, two CPU cores), as the attention then computes and masks out what lies between the examples.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from adapters.dataset import Item
from adapters.mixing import batches
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact


@dataclass(frozen=True)
class Step:
    """What one optimiser step did."""

    number: int
    loss: float
    tokens: int


def plan(items: Sequence[Item], recipe: Recipe) -> list[list[Item]]:
    """The batch of every optimiser step, in order."""
    epochs = math.ceil(recipe.epochs)
    made = [batch for e in range(epochs) for batch in batches(items, recipe.batch_tokens, f"{recipe.seed}/{e}")]
    steps = max(1, round(len(made) * recipe.epochs / epochs))
    return made[: min(steps, recipe.max_steps or steps)]


def train(model: PeftModel, steps: Sequence[Sequence[Item]], recipe: Recipe, pad: int) -> Iterator[Step]:
    """Train in place, yielding after every step. Raises RefusedArtifact once it diverges."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.weight_decay)
    total = len(steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total, recipe.warmup))
    model.train()
    for number, batch in enumerate(steps, start=1):
        loss = batch_loss(model, batch, pad)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if not (loss.isfinite() and norm.isfinite()):  # clipping an infinite gradient to zero would train nothing
            raise RefusedArtifact(
                f"the training diverged at step {number} of {total} (loss {loss.item():.3g}, gradient {norm:.3g}); "
                f"nothing was published. Try a learning_rate below {recipe.rate:g}"
            )
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


def _rate(step: int, total: int, warmup: float) -> float:
    """Linear rise over the warm-up, then linear fall to zero, as a factor of the learning rate."""
    rise = max(1, round(total * warmup))
    return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))
