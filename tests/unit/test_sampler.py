"""Sampling: greedy, filtered, seeded, and independent of the rest of the batch."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from ragtune.wire import Sampling
from service.engine.sampler import NonFiniteLogits, Row, log_probabilities, sample

LOGITS = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]))


def row(sampling: Sampling, drawn: int) -> Row:
    return Row(sampling, output=[0] * drawn)


def draws(sampling: Sampling, count: int = 2000) -> Counter[int]:
    logits = LOGITS.repeat(count, 1)
    drawn = sample(logits, [Row(sampling, output=[0] * index) for index in range(count)])
    return Counter(int(t) for t in drawn if isinstance(t, int))


def test_temperature_zero_takes_the_most_likely() -> None:
    assert sample(LOGITS[None], [Row(Sampling(temperature=0))]) == [0]


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
    alone = [sample(LOGITS[None], [row(mine, i)])[0] for i in range(50)]
    other = Sampling(temperature=1.5, seed=7)
    beside = [sample(LOGITS.repeat(3, 1), [row(other, 9), row(mine, i), row(other, 9)])[1] for i in range(50)]
    assert alone == beside
    assert len(set(alone)) > 1


def test_extreme_seeds_are_taken() -> None:
    for seed in (-(2**63), -1, 0, 2**63 - 1):
        assert isinstance(sample(LOGITS[None], [Row(Sampling(temperature=1, seed=seed))])[0], int)


def test_a_row_that_is_not_finite_fails_alone() -> None:
    broken = torch.full_like(LOGITS, math.nan)
    tokens = sample(torch.stack([LOGITS, broken, LOGITS]), [Row(Sampling())] * 3)
    assert tokens[0] == tokens[2] == 0
    assert isinstance(tokens[1], NonFiniteLogits)


@pytest.mark.parametrize("extreme", [{"temperature": 1e-40}, {"temperature": 1.0, "top_p": 1e-46}])
def test_the_smallest_legal_values_choose_the_likeliest_token(extreme: dict[str, float]) -> None:
    logits = torch.tensor([[1.0, 30.0, -4.0], [2.0, -1e30, 1.5]])
    assert sample(logits, [Row(Sampling(seed=3, **extreme))] * 2) == [1, 0]


def test_min_p_leaves_out_what_is_too_unlikely_beside_the_best() -> None:
    assert set(draws(Sampling(temperature=1, min_p=0.29, seed=1))) == {0, 1, 2}
    assert set(draws(Sampling(temperature=1, min_p=1.0, seed=1))) == {0}


def test_a_bias_moves_a_logit_and_can_ban_or_force_a_token() -> None:
    assert set(draws(Sampling(temperature=1, logit_bias=((0, -100), (1, -100)), seed=1))) == {2, 3, 4}
    assert set(draws(Sampling(temperature=1, logit_bias=((4, 100),), seed=1), 200)) == {4}
    assert sample(LOGITS[None], [Row(Sampling(logit_bias=((3, 5),)))]) == [3]


def test_frequency_and_presence_penalties_weigh_what_was_generated_and_not_the_prompt() -> None:
    # log-probabilities -0.69, -1.39, -1.90, -2.66, -3.51
    output = [0, 0, 0, 1]
    frequency = Row(Sampling(frequency_penalty=0.5), prompt=[2, 2, 2, 2], output=output)  # -2.19, -1.89, -1.90
    assert sample(LOGITS[None], [frequency]) == [1]
    presence = Row(Sampling(presence_penalty=1.5), prompt=[2], output=output)  # -2.19, -2.89, -1.90
    assert sample(LOGITS[None], [presence]) == [2]
    wanted = Row(Sampling(presence_penalty=-2), output=[3])  # token 3: -0.66
    assert sample(LOGITS[None], [wanted]) == [3]
    assert sample(LOGITS[None], [Row(Sampling(frequency_penalty=2, presence_penalty=2), prompt=[0])]) == [0]


def test_a_repetition_penalty_weighs_prompt_and_output_and_works_on_either_sign() -> None:
    logits = torch.tensor([[2.0, 1.5, -1.0, -1.2]])
    assert sample(logits, [Row(Sampling(repetition_penalty=1.5), prompt=[0])]) == [1]  # 2/1.5 < 1.5
    assert sample(logits, [Row(Sampling(repetition_penalty=3), prompt=[0], output=[1])]) == [0]  # 2/3 > 1.5/3
    negative = torch.tensor([[-1.0, -1.2]])
    assert sample(negative, [Row(Sampling(repetition_penalty=1.5), output=[0])]) == [1]  # -1.5 < -1.2


def test_no_end_is_chosen_before_min_tokens() -> None:
    two = Sampling(min_tokens=2)
    tokens = [sample(LOGITS[None], [Row(two, output=[9] * made, stops=(0, 1))])[0] for made in range(3)]
    assert tokens == [2, 2, 0]


def test_a_mask_forbids_and_shaping_never_changes_the_neighbours_or_the_logits() -> None:
    logits = LOGITS.repeat(3, 1)
    allowed = np.array([False, False, True, True, False])
    rows = [Row(Sampling()), Row(Sampling(logit_bias=((3, 9),)), allowed=allowed), Row(Sampling(), allowed=allowed)]
    assert sample(logits, rows) == [0, 3, 2]
    assert torch.equal(logits, LOGITS.repeat(3, 1))


def test_log_probabilities_are_of_the_logits_as_they_are() -> None:
    (told,) = log_probabilities(LOGITS[None] + 7, [3], 2)  # a constant cancels
    assert told.chosen == pytest.approx(math.log(0.07), abs=1e-6)
    assert [token for token, _ in told.best] == [0, 1]
    assert [math.exp(value) for _, value in told.best] == pytest.approx([0.5, 0.25], abs=1e-6)
    assert log_probabilities(LOGITS[None], [0], 0)[0].best == ()


def test_the_chosen_tokens_own_value_is_exactly_that_of_the_best_when_it_is_the_best() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 300, generator=generator) * 10
    best = logits.argmax(-1).tolist()
    assert all(told.chosen == told.best[0][1] for told in log_probabilities(logits, best, 1))


def test_a_nucleus_wider_than_the_candidates_it_is_looked_for_in_is_found() -> None:
    flat = torch.zeros(4000, 2000)
    tokens = sample(flat, [row(Sampling(temperature=1, top_p=0.9, seed=5), i) for i in range(4000)])
    assert 1600 < len(set(tokens)) <= 1800


def test_draws_are_spread_evenly_over_equal_tokens_and_never_fall_on_a_forbidden_one() -> None:
    logits = torch.zeros(3000, 50)
    allowed = np.zeros(50, dtype=bool)
    allowed[[3, 40, 41, 42]] = True
    counts = Counter(sample(logits, [Row(Sampling(temperature=1, seed=i), allowed=allowed) for i in range(3000)]))
    assert set(counts) == {3, 40, 41, 42}
    assert all(abs(count - 750) < 4 * math.sqrt(750) for count in counts.values())


def test_each_row_is_drawn_by_its_own_wishes() -> None:
    wishes = [
        Sampling(temperature=1, top_k=1),
        Sampling(temperature=0),
        Sampling(temperature=1, logit_bias=((4, 100),)),
    ]
    assert sample(LOGITS.repeat(3, 1), [Row(wish) for wish in wishes]) == [0, 0, 4]
