"""The loss curve: thinned without losing what matters, smoothed without moving, and drawn the same every time."""

import csv
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.curve import draw, smoothed, thinned, window, write_numbers
from adapters.manifest import CurvePoint


def curve(steps: int, every: int = 10**9) -> list[CurvePoint]:
    """A falling loss; a validation loss every so many steps, lowest at the third quarter."""
    return [
        CurvePoint(
            step=s,
            loss=0.3 + 2 * math.exp(-4 * s / steps) * (1.1 if s % 2 else 0.9),
            validation=0.5 + abs(s / steps - 0.75) if s % every == 0 else None,
        )
        for s in range(1, steps + 1)
    ]


@given(steps=st.integers(0, 400), every=st.integers(1, 500), most=st.integers(2, 60))
def test_a_thinned_curve_keeps_its_ends_and_what_was_looked_at(steps: int, every: int, most: int) -> None:
    whole = curve(steps, every)
    kept = thinned(whole, most)
    assert len(kept) == min(most, len(whole))
    assert set(kept) <= set(whole) and list(kept) == sorted(kept, key=lambda point: point.step)
    if whole:
        assert {whole[0], whole[-1]} <= set(kept)
    looked = [point for point in whole if point.validation is not None]
    if len(looked) <= most - 2:
        assert set(looked) <= set(kept)
    if looked and most > 2:
        assert min(looked, key=lambda point: point.validation or 0) in kept


def test_the_points_between_are_spread_over_the_whole_training() -> None:
    steps = [point.step for point in thinned(curve(1000), 11)]
    assert max(b - a for a, b in pairwise(steps)) < 130


def test_smoothing_takes_the_mean_to_both_sides_and_leaves_a_line_a_line() -> None:
    line = [3.0 - 0.01 * i for i in range(200)]
    assert window(200) == 9
    assert smoothed(line) == pytest.approx(line)
    steps = [0.0, 9.0, 0.0] * 40
    assert smoothed(steps)[60] == pytest.approx(18 / 5)  # 9 0 |0| 9 0
    assert smoothed([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]  # too short to be smoothed
    assert smoothed([]) == []


def test_the_numbers_are_written_as_csv_and_come_back_exactly(tmp_path: Path) -> None:
    whole = curve(30, 10)
    write_numbers(whole, tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["step"]), float(r["loss"])) for r in rows] == [(p.step, p.loss) for p in whole]
    assert [r["step"] for r in rows if r["validation"]] == ["10", "20", "30"]


DRAW = """
import sys
from pathlib import Path
from adapters.curve import draw
from tests.unit.test_curve import curve
draw(curve(300, 60), 240, "support-lora: loss while training", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_the_same_curve_is_the_same_picture_whatever_the_user_has_set(tmp_path: Path) -> None:
    """In processes of their own, one with settings and a hash seed of its own; nothing is left in the home."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.hashsalt: other\n")
    root = Path(__file__).parents[2]
    environ = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    for number in (1, 2):
        subprocess.run(
            [sys.executable, "-c", DRAW, str(tmp_path / f"{number}.svg"), str(tmp_path / "cache")],
            env={**environ, "HOME": str(home), "PYTHONHASHSEED": str(number), "PYTHONPATH": str(root)},
            cwd=tmp_path if number == 2 else root,
            check=True,
        )
    first, second = (tmp_path / f"{number}.svg" for number in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    for word in ("support-lora: loss while training", "optimiser step", "loss (nats per token)", "published: step 240"):
        assert f">{word}<" in text
    assert list(home.iterdir()) == []
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_training_that_ended_at_once_can_be_drawn_too(tmp_path: Path, steps: int) -> None:
    draw(curve(steps), steps, "short", tmp_path / "loss.svg", tmp_path / "cache")
    assert (tmp_path / "loss.svg").stat().st_size > 1000
