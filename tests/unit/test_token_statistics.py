"""How many tokens the items of each task have."""

import pytest

from adapters.dataset import Item, LeftOut
from adapters.token_statistics import Spread, TokenStatistics


def test_the_spread_of_counts_is_by_nearest_rank() -> None:
    assert Spread.of(range(1, 101)) == Spread(1, 50, 95, 100, 5050)
    assert Spread.of([7]) == Spread(7, 7, 7, 7, 7)
    assert Spread.of([]) == Spread(0, 0, 0, 0, 0)


def test_every_task_has_a_row_and_every_reason_met_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    items = [Item("1", (5,) * 30, (2,), "a"), Item("2", (5,) * 50, (4, 2), "a")]
    left = [LeftOut("3", "a", "too long"), LeftOut("4", "b", "unsupported")]
    statistics = TokenStatistics.of(items, left)
    first, second = statistics.tasks
    assert (first.task, first.examples, first.prompt, first.left_out) == (
        "a",
        2,
        Spread(30, 30, 50, 50, 80),
        {"too long": 1},
    )
    assert (second.task, second.examples, second.left_out) == ("b", 0, {"unsupported": 1})
    statistics.show()
    shown = capsys.readouterr().err
    for text in ("30 / 30 / 50 / 50", "1 / 1 / 2 / 2", "too long", "unsupported"):
        assert text in shown
    assert "no gold" not in shown
