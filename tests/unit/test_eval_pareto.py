"""The front: what no other arm beats at everything."""

from eval.pareto import Point, front


def test_what_is_beaten_at_everything_is_not_on_the_front() -> None:
    points = [Point("good", 0.9, (10.0, 5.0)), Point("cheap", 0.5, (1.0, 5.0)), Point("neither", 0.5, (2.0, 6.0))]
    assert front(points) == {"good", "cheap"}


def test_equals_are_both_on_it() -> None:
    assert front([Point("a", 0.5, (1.0,)), Point("b", 0.5, (1.0,))]) == {"a", "b"}


def test_a_cost_that_is_not_known_may_be_a_low_one() -> None:
    points = [Point("good", 0.9, (10.0,)), Point("unknown", 0.5, (None,)), Point("worse", 0.4, (11.0,))]
    assert front(points) == {"good", "unknown"}


def test_a_cost_that_nobody_knows_is_none() -> None:
    assert front([Point("good", 0.9, (None, 1.0)), Point("worse", 0.4, (None, 1.0))]) == {"good"}


def test_nothing_has_an_empty_front() -> None:
    assert front([]) == set()
