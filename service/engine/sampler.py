"""From logits to the next token of each row, and to log-probabilities.

Order as in vLLM: what a grammar forbids is out first; then bias, repetition penalty (Keskar et al. 2019, section 4.1),
frequency and presence penalty (as OpenAI defines them), and ends before `min_tokens`; then temperature, min_p (Nguyen
et al. 2024), top_k, top_p (Holtzman et al. 2020). Every row draws with a number of its own, made of the request's seed
and the index of the token, so that what a request draws does not depend on its neighbours in the batch, on batching, or
on a retry.

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
_NUCLEUS = (
    512  # candidates in which a nucleus is looked for first: sorting a whole vocabulary takes longer than the rest
)
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
    def shaped(self) -> bool:
        """Whether something changes its logits before the temperature does."""
        sampling = self.sampling
        weighed = sampling.logit_bias or sampling.presence_penalty or sampling.frequency_penalty
        return bool(weighed) or sampling.repetition_penalty != 1 or self.too_short or self.allowed is not None

    @property
    def too_short(self) -> bool:
        """Whether it must not end yet."""
        return len(self.output) < self.sampling.min_tokens


def sample(logits: Tensor, rows: Items[Row]) -> list[int | NonFiniteLogits]:
    """A token for each row of (n, vocabulary) logits; a row that cannot be sampled yields its error instead."""
    values, greedy = logits.max(dim=-1)
    finite = torch.isfinite(values).tolist()
    chosen: list[int | NonFiniteLogits] = list(greedy.tolist())
    drawn: list[int] = []
    for at, row in enumerate(rows):
        if not finite[at]:
            chosen[at] = NonFiniteLogits("the model produced logits that are not finite")
        elif row.sampling.temperature > 0:
            drawn.append(at)
        elif row.shaped:
            chosen[at] = int(_shape(logits[at].float(), row).argmax())
    if drawn:
        tokens = _draw(logits[drawn].float(), [rows[at] for at in drawn])
        for at, token in zip(drawn, tokens, strict=True):
            chosen[at] = token
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


def _draw(logits: Tensor, rows: Items[Row]) -> list[int]:
    """A token for each row, by the inverse of its cumulative distribution at a number of its own in [0, 1)."""
    for at, row in enumerate(rows):
        if row.shaped:
            logits[at] = _shape(logits[at], row)
    logits -= logits.max(dim=-1, keepdim=True).values
    logits /= torch.tensor([[max(row.sampling.temperature, _COLDEST)] for row in rows], device=logits.device)
    for at, row in enumerate(rows):
        if row.sampling.min_p > 0:
            logits[at].masked_fill_(logits[at].exp() < row.sampling.min_p, _OUT)  # the likeliest stands at exp(0)
    tokens = _inverse(logits.softmax(dim=-1), rows)
    for at, row in enumerate(rows):
        if row.sampling.top_p < 1 or 0 < row.sampling.top_k < logits.shape[1]:
            probabilities, ids = _likeliest(logits[at], row.sampling)
            tokens[at] = int(ids[_inverse(probabilities[None], [row])[0]])
    return tokens


def _inverse(probabilities: Tensor, rows: Items[Row]) -> list[int]:
    """The index at which each row of (n, k) probabilities, up to a factor, passes the row's number."""
    exact = torch.float64 if probabilities.is_cuda else None  # there a sum in parallel may not grow steadily
    cumulative = probabilities.cumsum(dim=-1, dtype=exact)
    numbers = torch.tensor([[_uniform(row.sampling.seed or 0, len(row.output))] for row in rows])
    wanted = numbers.to(cumulative) * cumulative[:, -1:]
    found: list[int] = torch.searchsorted(cumulative, wanted, right=True)[:, 0].tolist()
    last = probabilities.shape[1]
    for at, index in enumerate(found):
        if index == last or float(probabilities[at, index]) == 0:  # by rounding alone: never a forbidden one
            found[at] = int(probabilities[at].argmax())
    return found


def _likeliest(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Probabilities, up to a factor, and ids of what top_k and then top_p leave, likeliest first."""
    count = sampling.top_k if 0 < sampling.top_k < logits.shape[0] else 0
    for candidates in [count] if count else [min(_NUCLEUS, logits.shape[0]), logits.shape[0]]:
        values, ids = logits.topk(candidates)
        probabilities = (values - (values if count else logits).logsumexp(dim=-1)).exp()
        before = probabilities.cumsum(dim=-1) - probabilities
        if count or float(before[-1]) >= sampling.top_p:  # else the nucleus may hold more than the candidates
            break
    outside = before >= sampling.top_p
    outside[0] = False  # the likeliest always stays
    return probabilities.masked_fill(outside, 0.0), ids


def _uniform(seed: int, index: int) -> float:
    """A number in [0, 1) for the `index`-th token of a request: SplitMix64 (Steele et al. 2014) of both."""
    mixed = (seed * _GOLDEN + (index + 1) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)
