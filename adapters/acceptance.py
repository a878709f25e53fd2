"""Whether what was saved is what was trained: loaded again by its own library, it has the same loss, and it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapters.answer_loss import task_losses, together
from adapters.dataset import Item
from adapters.techniques.loading import quiet
from adapters.techniques.trainee import Model, Trainee
from ragtune.errors import RefusedArtifact

_TOLERANCE = 1e-3  # nats; the trained and the loaded loss differ by rounding only
_NEAR = 1e-3  # logits: closer than that, two tokens are equally good (docs/architecture.md)
_ITEMS = 4  # looked at
_PROMPTS = 2  # answered
_MOST = 8  # tokens of an answer: enough to compare with what the engine says


@dataclass(frozen=True)
class Answered:
    """A prompt, and the greedy answer of the model as its own library loads it, with the token that ends it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def check_saved(
    trainee: Trainee, folder: Path, items: Sequence[Item], pad: int, ends: Sequence[int]
) -> tuple[Answered, ...]:
    """Answers to the prompts of the first few `items`, at most `_MOST` tokens each; a token of `ends` ends one.

    Raises RefusedArtifact if the saved model has another loss than the trained one, or answers nothing.
    """
    few = items[:_ITEMS]
    loaded = trainee.files.reload(folder)
    was, now = (_loss(model, few, pad) for model in (trainee.model, loaded))
    if not abs(was - now) <= _TOLERANCE:  # so written, it catches losses that are no numbers, too
        raise RefusedArtifact(f"the saved adapter has loss {now:.4f} where the trained one has {was:.4f}")
    plain = trainee.files.plain(folder) if trainee.files.quantised else loaded
    prompts = list(dict.fromkeys(item.prompt for item in few))[:_PROMPTS]
    return tuple(Answered(prompt, _answer(plain, prompt, pad, ends)) for prompt in prompts)


def check_served(answered: Sequence[Answered], served: Sequence[Sequence[int]], plain: Callable[[], Model]) -> None:
    """Raises RefusedArtifact unless the engine `served` each prompt the plain model's own greedy answer.

    Where the two best logits of the plain model, which is only loaded then, lie within `_NEAR` of each other, rounding
    may choose either (docs/architecture.md); behind such a place there is nothing to compare.
    """
    for each, told in zip(answered, served, strict=True):
        same = next((i for i, (a, b) in enumerate(zip(each.answer, told, strict=False)) if a != b), None)
        if same is None and len(told) >= len(each.answer):
            continue
        at = len(told) if same is None else same
        best, other = each.answer[at], told[at] if at < len(told) else None
        logits = _next_logits(plain(), [*each.prompt, *each.answer[:at]])
        if other is None or logits[best] - logits[other] > _NEAR:
            raise RefusedArtifact(
                f"from token {at + 1} on the engine answers otherwise than what plain PEFT or transformers loads; "
                "nothing was published"
            )


def _next_logits(model: Model, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
    return logits


def _loss(model: Model, items: Sequence[Item], pad: int) -> float:
    return together(list(task_losses(model, items, pad, batch_tokens=1).values())).mean


def _answer(model: Model, prompt: Sequence[int], pad: int, ends: Sequence[int]) -> tuple[int, ...]:
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode(), quiet():
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=_MOST,
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=pad,
        )[0, len(prompt) :].tolist()
    if written[0] in ends:
        raise RefusedArtifact("the trained model ends its answer before it has begun; look at the answers in the data")
    over = next((at for at, token in enumerate(written, start=1) if token in ends), len(written))
    return tuple(written[:over])
