"""What a training that was interrupted has used, and is gone on with."""

import time
from pathlib import Path

import pytest

from adapters.meter import Meter
from adapters.recipe import Recipe
from adapters.run_folder import RunFolder

RECIPE = Recipe.model_validate({"name": "shop-lora", "method": "lora", "train": "train.jsonl"})


def test_measuring_that_was_interrupted_is_known_as_such_by_who_goes_on(tmp_path: Path) -> None:
    run = RunFolder.of(tmp_path, RECIPE, "a" * 64)
    with Meter() as meter, pytest.raises(KeyboardInterrupt), run.keeping(meter), run.measuring():
        time.sleep(0.02)
        raise KeyboardInterrupt
    again = RunFolder.of(tmp_path, RECIPE, "a" * 64)
    assert again.spent.wall_seconds >= again.measuring_seconds >= 0.02
    before = again.measuring_seconds
    with again.measuring():
        time.sleep(0.02)
    assert again.measuring_seconds >= before + 0.02
