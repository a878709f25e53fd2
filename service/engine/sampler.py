"""From logits to the next token of each row, and to log-probabilities.

Order as in vLLM: what a grammar forbids is out first; then bias, repetition penalty (Keskar et al. 2019, section 4.1),
frequency and presence penalty (as OpenAI defines them), and ends before `min_tokens`; then temperature, min_p (Nguyen
et al. 2024), top_k, top_p (Holtzman et al. 2020). Every row draws with a generator of its own, seeded by the request's
seed and the index of the token, so that what a request draws does not depend on its neighbours in the batch, on
batching, or on a retry.

Log-probabilities are those of the logits as the model gave them, before any of this.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragtune.wire import Sampling
from service.engine.messages import Logprobs

_GOLDEN = 0x9E3779B97F4A7C15  # odd multiplier of SplitMix64: neighbouring (seed, index) pairs give unrelated streams
_MASK = (1 << 64) - 1
_COLDEST = 1e-5  # below, dividing by the temperature overflows; here all but equal logits are out of reach already
_OUT = float("-inf")


class NonFiniteLogits(Exception):
    """A row has NaN or infinite logits: its weights or its KV are broken."""


@dataclass(frozen=True)
class Row:
    """What decides the token of one row. `stops` are kept out until `min_tokens` of `output` are there."""

    sampling: Sampling
    prompt: Items[int] = ()
    output: Items[int] = ()
    stops: Items[int] = ()
    allowed: NDArray[np.bool_] | None = None  # (vocabulary,), from a grammar

    @property
    def plain(self) -> bool:
        """Whether the likeliest token of the logits as they are is the answer."""
        sampling = self.sampling
        shaped = sampling.logit_bias or sampling.presence_penalty or sampling.frequency_penalty
        repeats = sampling.repetition_penalty != 1
        return not (sampling.temperature or shaped or repeats or self.too_short or self.allowed is not None)

    @property
    def too_short(self) -> bool:
        """Whether it must not end yet."""
        return len(self.output) < self.sampling.min_tokens


def sample(logits: Tensor, rows: Items[Row]) -> list[int | NonFiniteLogits]:
    """A token for each row of (n, vocabulary) logits; a row that cannot be sampled yields its error instead."""
    values, greedy = logits.max(dim=-1)
    finite = torch.isfinite(values).tolist()
    chosen: list[int | NonFiniteLogits] = list(greedy.tolist())
    for at, row in enumerate(rows):
        if not finite[at]:
            chosen[at] = NonFiniteLogits("the model produced logits that are not finite")
        elif not row.plain:
            shaped = _shape(logits[at].float(), row)
            chosen[at] = _draw(shaped, row) if row.sampling.temperature > 0 else int(shaped.argmax())
    return chosen


def log_probabilities(logits: Tensor, token_ids: Items[int], best: int) -> list[Logprobs]:
    """For each row of (n, vocabulary) logits that of its token, beside the `best` likeliest."""
    logits = logits.float()
    total = logits.logsumexp(dim=-1, keepdim=True)
    chosen = (logits.gather(1, torch.tensor(token_ids, device=logits.device)[:, None]) - total)[:, 0].tolist()
    values, ids = logits.topk(min(best, logits.shape[-1]))
    pairs = zip((values - total).tolist(), ids.tolist(), strict=True)
    return [
        Logprobs(own, tuple(zip(row_ids, row_values, strict=True)))
        for own, (row_values, row_ids) in zip(chosen, pairs, strict=True)
    ]


def _shape(logits: Tensor, row: Row) -> Tensor:
    """(vocabulary,) logits with grammar, bias and penalties applied."""
    logits, sampling = logits.clone(), row.sampling
    if row.allowed is not None:
        logits.masked_fill_(torch.from_numpy(~row.allowed).to(logits.device), _OUT)
    if sampling.logit_bias:
        ids, biases = zip(*sampling.logit_bias, strict=True)
        logits[_ids(ids, logits)] += torch.tensor(biases, device=logits.device)
    if sampling.repetition_penalty != 1:
        seen = _ids([*row.prompt, *row.output], logits)
        values = logits[seen]
        logits[seen] = torch.where(
            values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty
        )
    if (sampling.frequency_penalty or sampling.presence_penalty) and row.output:
        seen, counts = torch.unique(_ids(row.output, logits), return_counts=True)
        logits[seen] -= sampling.frequency_penalty * counts + sampling.presence_penalty
    if row.too_short and row.stops:
        logits[_ids(row.stops, logits)] = _OUT
    return logits


def _ids(token_ids: Items[int], logits: Tensor) -> Tensor:
    return torch.tensor(list(token_ids), device=logits.device)


def _draw(logits: Tensor, row: Row) -> int:
    sampling = row.sampling
    logits = (logits - logits.max()) / max(sampling.temperature, _COLDEST)
    if sampling.min_p > 0:
        logits = logits.masked_fill(logits.exp() < sampling.min_p, _OUT)  # the likeliest stands at exp(0)
    if 0 < sampling.top_k < logits.shape[0]:
        smallest = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, _OUT)
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    generator = torch.Generator(device=logits.device)
    generator.manual_seed(((sampling.seed or 0) * _GOLDEN + (len(row.output) + 1) * 0xBF58476D1CE4E5B9) & _MASK)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the fewest most likely tokens whose probabilities reach `top_p`; the likeliest always stays."""
    ordered, order = probabilities.sort(descending=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    beyond[0] = False
    return probabilities.index_fill(-1, order[beyond], 0.0)
