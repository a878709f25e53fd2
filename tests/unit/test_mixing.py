"""Which items make which optimiser step: batches, epochs, and the share of each task."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dataset import Item
from adapters.mixing import Step, batches, plan, shares
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact

END_OF_TURN = 2


def items(lengths: Sequence[int]) -> list[Item]:
    return [Item(str(number), (5,) * (length - 1), (END_OF_TURN,)) for number, length in enumerate(lengths)]


def of_tasks(**sizes: int) -> list[Item]:
    """So many items of each task, of eleven tokens or less."""
    return [
        Item(f"{task}{n}", (5,) * (n % 11), (END_OF_TURN,), task) for task, size in sizes.items() for n in range(size)
    ]


def recipe(**fields: object) -> Recipe:
    return Recipe.model_validate({"name": "x", "method": "lora", "train": "x", "batch_tokens": 100, **fields})


def drawn(steps: Sequence[Step]) -> Counter[str]:
    return Counter(item.id for step in steps for batch in step for item in batch)


def tasks(steps: Sequence[Step]) -> Counter[str]:
    return Counter(item.task for step in steps for batch in step for item in batch)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(1, 1000), st.text(max_size=3))
def test_every_item_is_in_one_batch_and_no_batch_of_several_exceeds_its_tokens(
    lengths: list[int], batch_tokens: int, seed: str
) -> None:
    made = batches(items(lengths), batch_tokens, seed)
    assert sorted(int(item.id) for batch in made for item in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(item.length for item in batch) <= batch_tokens
    assert made == batches(items(lengths), batch_tokens, seed)


def test_another_seed_gives_another_order() -> None:
    assert batches(items(range(1, 60)), 200, "0") != batches(items(range(1, 60)), 200, "1")


def test_a_step_is_so_many_batches_and_the_last_one_takes_the_rest() -> None:
    made = plan(of_tasks(a=100), recipe(accumulate=4))
    alone = plan(of_tasks(a=100), recipe())
    assert [batch for step in made for batch in step] == [batch for (batch,) in alone]
    assert [len(step) for step in made[:-1]] == [4] * (len(made) - 1) and 0 < len(made[-1]) <= 4


def test_a_step_of_so_many_examples_takes_them_as_they_are_drawn_in_parts_of_like_length() -> None:
    given = items([90, 10, 80, 12, 95, 11, 85, 9, 70])
    made = plan(given, recipe(batch_size=4))
    assert [sum(map(len, step)) for step in made] == [4, 4, 1]
    assert drawn(made) == Counter({item.id: 1 for item in given})
    for step in made:
        for part in step:
            assert len(part) == 1 or len(part) * max(item.length for item in part) <= 100
    assert made != plan(given, recipe(batch_size=4, seed=1))
    twice = plan(given, recipe(batch_size=4, accumulate=2))
    assert [sum(map(len, step)) for step in twice] == [8, 1]
    assert len(plan(given, recipe(batch_size=4, max_steps=2))) == 2


def test_one_task_is_batched_epoch_by_epoch_and_every_item_once_in_each() -> None:
    of_one = of_tasks(a=100)
    made = plan(of_one, recipe(epochs=2, seed=3))
    expected = batches(of_one, 100, "3/0") + batches(of_one, 100, "3/1")
    assert [batch for (batch,) in made] == expected


def test_max_steps_and_parts_of_epochs_end_a_training() -> None:
    same = [Item(str(n), (5,) * 9, (END_OF_TURN,)) for n in range(100)]
    whole = plan(same, recipe())
    assert len(whole) == 11  # of 64 and 36 items, ten a batch
    assert plan(same, recipe(max_steps=5)) == whole[:5] == plan(same, recipe(max_steps=5, epochs=1000))[:5]
    assert len(plan(same, recipe(epochs=0.5))) == 6
    assert len(plan(same, recipe(epochs=0.001))) == 1
    assert plan(same, recipe(epochs=2.5))[:11] == whole
    assert len(plan(same, recipe(epochs=2.5))) == 28
    assert [len(step) for step in plan(same, recipe(accumulate=3, max_steps=2))] == [3, 3]


def test_shares_are_by_size_its_root_or_equal_times_the_weights() -> None:
    sizes = {"a": 900, "b": 100}
    for fields, share in [
        ({}, 0.9),
        ({"mixing": "temperature"}, 0.75),  # 30 to 10
        ({"mixing": "temperature", "temperature": 1}, 0.9),
        ({"mixing": "equal"}, 0.5),
        ({"mixing": "equal", "weights": {"a": 3}}, 0.75),
        ({"weights": {"b": 9}}, 0.5),
    ]:
        found = shares(sizes, recipe(**fields))
        assert found == pytest.approx({"a": share, "b": 1 - share}), fields


def test_a_weight_of_an_unknown_task_is_refused_with_the_near_one() -> None:
    with pytest.raises(RefusedArtifact, match=r"weights: unknown task .sumz.; did you mean .sums.\?"):
        plan(of_tasks(sums=3, words=3), recipe(weights={"sumz": 2}))


def test_a_smaller_task_is_repeated_and_a_larger_one_thinned_where_shares_are_equal() -> None:
    made = plan(of_tasks(a=90, b=10), recipe(mixing="equal"))
    assert tasks(made) == {"a": 50, "b": 50}
    counts = drawn(made)
    assert {counts[f"b{n}"] for n in range(10)} == {5}
    assert {counts[f"a{n}"] for n in range(90)} == {0, 1}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 30), min_size=1),
    st.sampled_from(["proportional", "temperature", "equal"]),
    st.floats(0.1, 10),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_epochs_are_whole_shares_are_kept_and_items_of_a_task_come_up_equally_often(
    sizes: dict[str, int], mixing: str, factor: float, epochs: int, seed: int
) -> None:
    asked = recipe(mixing=mixing, weights={next(iter(sizes)): factor}, epochs=epochs, seed=seed)
    everything = of_tasks(**sizes)
    made = plan(everything, asked)
    counts, by_task = drawn(made), tasks(made)
    assert counts.total() == epochs * len(everything)
    for task, share in shares(sizes, asked).items():
        assert abs(by_task[task] - share * epochs * len(everything)) <= len(sizes)
        often = [counts[item.id] for item in everything if item.task == task]
        assert max(often) - min(often) <= 1
    assert made == plan(everything, asked)
