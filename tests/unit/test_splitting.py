"""Which examples are kept aside for validation."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from adapters.splitting import stratified
from adapters.wording import question
from ragtune.examples import Example


def example(number: int, query: str | None = None, task: str = "a") -> Example:
    return Example(id=str(number), query=query or f"query {number}", answers=("x",), task=task)


def test_every_task_has_some_in_proportion_to_its_size() -> None:
    examples = [example(n, task="a" if n < 80 else "b" if n < 98 else "c") for n in range(100)]
    drawn, rest = stratified(examples, 10, seed=1)
    assert Counter(e.task for e in drawn) == {"a": 7, "b": 2, "c": 1}
    assert drawn + rest != examples and sorted(drawn + rest, key=lambda e: int(e.id)) == examples


def test_with_fewer_places_than_tasks_the_largest_have_them() -> None:
    examples = [example(n, task="abc"[n % 3] if n < 9 else "a") for n in range(20)]
    drawn, _ = stratified(examples, 1, seed=1)
    assert [e.task for e in drawn] == ["a"]


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    examples = [example(n) for n in range(50)]
    assert stratified(examples, 9, seed=1) == stratified(examples, 9, seed=1) != stratified(examples, 9, seed=2)


def test_of_every_task_something_is_spared() -> None:
    examples = [example(1), example(2, task="b"), example(3, task="b")]
    drawn, rest = stratified(examples, 3, seed=1, spare=1)
    assert ([e.task for e in drawn], {e.task for e in rest}) == (["b"], {"a", "b"})


@given(
    st.lists(
        st.tuples(st.sampled_from(["Why?", "why ?", "WHY?", "How?", "When?"]), st.sampled_from("ab")), max_size=30
    ),
    st.integers(0, 40),
    st.integers(0, 2),
)
def test_no_question_is_on_both_sides_nothing_is_lost_and_no_more_than_asked_for_are_drawn(
    asked: list[tuple[str, str]], count: int, spare: int
) -> None:
    examples = [example(n, query, task) for n, (query, task) in enumerate(asked)]
    drawn, rest = stratified(examples, count, seed=0, spare=spare)
    assert not {question(e) for e in drawn} & {question(e) for e in rest}
    assert sorted([*drawn, *rest], key=lambda e: int(e.id)) == examples
    assert len(drawn) <= count
