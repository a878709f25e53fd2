"""The loss: cross entropy on the answers only, with logits only where an answer stands.

Batches are padded on the right and go without an attention mask: under causal attention no token sees the padding
behind it, positions need no correction, and the fast kernel without a mask serves. A soft prompt, which PEFT puts
before the text without regard to position ids, is seen just as it will be when served. Packing several examples into
one row with restarting positions was slower: 324 tokens/s against 528 (SmolLM2-135M, LoRA, 268 tokens an example,
1,100 a step, two CPU cores), as the attention then computes and masks out what lies between the examples.

The states that predict answer tokens are taken from what the decoder puts out, and head and cross entropy run over
them in pieces whose gradient is taken at once, so that memory for logits is bounded however long the answers are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from adapters.dataset import Item, filled
from adapters.techniques.trainee import Model

_LOGITS = 1 << 24  # numbers: 64 MiB in fp32, a few times that while the gradient is taken


@dataclass(frozen=True)
class Loss:
    """A sum of nats over so many answer tokens."""

    nats: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens


def loss_sum(model: Model, batch: Sequence[Item], pad: int) -> Tensor:
    """The sum of the cross entropy over the answer tokens of the batch, as one scalar in nats."""
    hidden = _predicting(model, batch, pad)
    labels = torch.tensor([token for item in batch for token in item.answer], device=hidden.device)
    causal = _causal(model)
    head = causal.get_output_embeddings().parameters()
    learned = [parameter for parameter in head if parameter.requires_grad and torch.is_grad_enabled()]
    total: Tensor = _HeadLoss.apply(hidden, labels, causal, *learned)  # type: ignore[no-untyped-call]
    return total


def task_losses(model: Model, items: Sequence[Item], pad: int, batch_tokens: int) -> dict[str, Loss]:
    """The loss on the items of every task, without gradients and in evaluation mode, which the model is left in."""
    model.eval()
    with torch.no_grad():
        return {
            task: _whole(model, [item for item in items if item.task == task], pad, batch_tokens)
            for task in sorted({item.task for item in items})
        }


def together(losses: Sequence[Loss]) -> Loss:
    """The loss over all of them."""
    return Loss(sum(loss.nats for loss in losses), sum(loss.tokens for loss in losses))


def answer_tokens(batch: Sequence[Item]) -> int:
    """Tokens that carry the loss."""
    return sum(len(item.answer) for item in batch)


def _whole(model: Model, items: Sequence[Item], pad: int, batch_tokens: int) -> Loss:
    sums = [float(loss_sum(model, batch, pad)) for batch in filled(items, batch_tokens)]
    return Loss(sum(sums), answer_tokens(items))


def _predicting(model: Model, batch: Sequence[Item], pad: int) -> Tensor:
    """The decoder's final states (answer tokens, width) that predict them, row by row."""
    causal = _causal(model)
    device = causal.get_input_embeddings().weight.device
    longest = max(item.length for item in batch)
    rows = [[*item.prompt, *item.answer, *[pad] * (longest - item.length)] for item in batch]
    states: list[Tensor] = []
    hook = causal.get_decoder().register_forward_hook(lambda _m, _i, out: states.append(out.last_hidden_state))
    try:
        model(
            input_ids=torch.tensor(rows, device=device),
            logits_to_keep=torch.empty(0, dtype=torch.long, device=device),  # the head is ours to apply
            use_cache=False,
        )
    finally:
        hook.remove()
    (hidden,) = states  # (rows, virtual tokens before the text + longest, width)
    width = hidden.shape[1]
    before = width - longest - 1  # the state at position i predicts token i + 1
    at = [
        row * width + before + place for row, item in enumerate(batch) for place in range(len(item.prompt), item.length)
    ]
    return hidden.flatten(0, 1).index_select(0, torch.tensor(at, device=device))


def _causal(model: Model) -> PreTrainedModel:
    """The model with the head, inside what PEFT put around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


class _HeadLoss(torch.autograd.Function):
    """Summed cross entropy of states (n, width) against labels (n,) through the model's head, softcap included.

    Each piece's gradient, by the states and by the head's own parameters if they learn, is taken as soon as its logits
    are there, so that those of one piece are all there ever are.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor, causal: PreTrainedModel, *learned: Tensor) -> Tensor:
        by_hidden, by_learned = ctx.needs_input_grad[0], list(learned)
        size = max(1, _LOGITS // causal.config.vocab_size)
        total = torch.zeros((), device=hidden.device)
        of_hidden: list[Tensor] = []
        of_learned = [torch.zeros_like(parameter) for parameter in by_learned]
        for states, wanted in zip(torch.split(hidden, size), torch.split(labels, size), strict=True):
            piece = states.detach().requires_grad_(by_hidden)
            with torch.set_grad_enabled(by_hidden or bool(by_learned)):
                loss = F.cross_entropy(_logits(causal, piece), wanted, reduction="sum")
            total += loss.detach()
            if loss.requires_grad:
                found = torch.autograd.grad(loss, [*([piece] if by_hidden else []), *by_learned])
                of_hidden += found[:1] if by_hidden else []
                for sum_, gradient in zip(of_learned, found[-len(by_learned) :] if by_learned else (), strict=True):
                    sum_ += gradient
        ctx.save_for_backward(*of_learned, *([torch.cat(of_hidden)] if of_hidden else []))
        ctx.learned = len(by_learned)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [kept * gradients[0] for kept in ctx.saved_tensors]
        of_hidden = scaled[ctx.learned] if len(scaled) > ctx.learned else None
        return of_hidden, None, None, *scaled[: ctx.learned]


def _logits(causal: PreTrainedModel, hidden: Tensor) -> Tensor:
    """What the model's own forward computes of its head's input; of those we support, only Gemma 2 caps it."""
    logits: Tensor = causal.get_output_embeddings()(hidden).float()
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap
