"""Sampling: greedy, filtered, seeded, and independent of the rest of the batch."""

import math
from collections import Counter

import pytest
import torch

from ragtune.wire import Sampling
from service.engine.sampler import NonFiniteLogits, sample

LOGITS = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]))


def draws(sampling: Sampling, count: int = 2000) -> Counter[int]:
    rows = LOGITS.repeat(count, 1)
    return Counter(int(t) for t in sample(rows, [sampling] * count, range(count)) if isinstance(t, int))


def test_temperature_zero_takes_the_most_likely() -> None:
    assert sample(LOGITS[None], [Sampling(temperature=0)], [0]) == [0]


def test_temperature_one_draws_in_proportion() -> None:
    counts = draws(Sampling(temperature=1, seed=1))
    for token, probability in enumerate(LOGITS.exp().tolist()):
        spread = math.sqrt(probability * (1 - probability) / 2000)
        assert abs(counts[token] / 2000 - probability) < 4 * spread


def test_top_k_and_top_p_leave_only_their_tokens() -> None:
    assert set(draws(Sampling(temperature=1, top_k=2, seed=1))) == {0, 1}
    assert set(draws(Sampling(temperature=1, top_p=0.76, seed=1))) == {0, 1, 2}
    assert set(draws(Sampling(temperature=1, top_p=0.01, seed=1))) == {0}


def test_a_seed_repeats_whatever_stands_beside_it() -> None:
    mine = Sampling(temperature=1.5, seed=42)
    alone = [sample(LOGITS[None], [mine], [i])[0] for i in range(50)]
    other = Sampling(temperature=1.5, seed=7)
    beside = [sample(LOGITS.repeat(3, 1), [other, mine, other], [9, i, 9])[1] for i in range(50)]
    assert alone == beside
    assert len(set(alone)) > 1


def test_extreme_seeds_are_taken() -> None:
    for seed in (-(2**63), -1, 0, 2**63 - 1):
        assert isinstance(sample(LOGITS[None], [Sampling(temperature=1, seed=seed)], [0])[0], int)


def test_a_row_that_is_not_finite_fails_alone() -> None:
    broken = torch.full_like(LOGITS, math.nan)
    tokens = sample(torch.stack([LOGITS, broken, LOGITS]), [Sampling()] * 3, [0, 0, 0])
    assert tokens[0] == tokens[2] == 0
    assert isinstance(tokens[1], NonFiniteLogits)


@pytest.mark.parametrize("extreme", [{"temperature": 1e-40}, {"temperature": 1.0, "top_p": 1e-46}])
def test_the_smallest_legal_values_choose_the_likeliest_token(extreme: dict[str, float]) -> None:
    logits = torch.tensor([[1.0, 30.0, -4.0], [2.0, -1e30, 1.5]])
    assert sample(logits, [Sampling(seed=3, **extreme)] * 2, [0, 0]) == [1, 0]
