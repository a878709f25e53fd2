"""From logits to the next token of each row.

Order as everywhere in the field: temperature, then top_k, then top_p (Holtzman et al. 2020). Every row draws with a
generator of its own, seeded by the request's seed and the index of the token, so that what a request draws does not
depend on its neighbours in the batch, on batching, or on a retry.
"""

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from ragtune.wire import Sampling

_GOLDEN = 0x9E3779B97F4A7C15  # odd multiplier of SplitMix64: neighbouring (seed, index) pairs give unrelated streams
_MASK = (1 << 64) - 1
_COLDEST = 1e-5  # below, dividing by the temperature overflows; here all but equal logits are out of reach already


class NonFiniteLogits(Exception):
    """A row has NaN or infinite logits: its weights or its KV are broken."""


def sample(logits: Tensor, samplings: Items[Sampling], indices: Items[int]) -> list[int | NonFiniteLogits]:
    """A token for each row of (n, vocabulary) logits; a row that cannot be sampled yields its error instead.

    `indices` are how many tokens each row has drawn before.
    """
    values, greedy = logits.max(dim=-1)
    finite = torch.isfinite(values).tolist()
    chosen: list[int | NonFiniteLogits] = list(greedy.tolist())
    for row, sampling in enumerate(samplings):
        if not finite[row]:
            chosen[row] = NonFiniteLogits("the model produced logits that are not finite")
        elif sampling.temperature > 0:
            chosen[row] = _draw(logits[row].float(), sampling, indices[row])
    return chosen


def _draw(logits: Tensor, sampling: Sampling, index: int) -> int:
    logits = (logits - logits.max()) / max(sampling.temperature, _COLDEST)
    if 0 < sampling.top_k < logits.shape[0]:
        smallest = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    generator = torch.Generator(device=logits.device)
    generator.manual_seed(((sampling.seed or 0) * _GOLDEN + (index + 1) * 0xBF58476D1CE4E5B9) & _MASK)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the fewest most likely tokens whose probabilities reach `top_p`; the likeliest always stays."""
    ordered, order = probabilities.sort(descending=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    beyond[0] = False
    return probabilities.index_fill(-1, order[beyond], 0.0)
