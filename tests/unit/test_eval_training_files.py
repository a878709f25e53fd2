"""What adapters were trained on, as far as it can be read."""

import json
from pathlib import Path

from eval.runfile import Trained
from eval.training_files import training_files

LINE = json.dumps({"id": "1", "query": "q", "answers": ["a"]})


def trained(**recipe: object) -> Trained:
    return Trained.model_validate({"recipe": {"method": "lora", **recipe}})


def test_files_outside_the_allowed_roots_are_not_read_but_told(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.jsonl").write_text(LINE)
    (tmp_path / "in" / "link.jsonl").symlink_to(tmp_path / "out" / "t.jsonl")
    names = ["in/t.jsonl", "out/t.jsonl", "in/link.jsonl", "out/gone.jsonl"]
    bills = {"tuned": trained(train=[str(tmp_path / name) for name in names])}
    found = training_files(bills, [tmp_path / "in"])
    assert list(found.seen) == [tmp_path / "in" / "t.jsonl"]
    assert found.unchecked["tuned"] == tuple(
        f"{name} is not inside an allowed root" for name in ("t.jsonl", "link.jsonl", "gone.jsonl")
    )
    assert len(training_files(bills).seen) == 3


def test_each_of_several_adapters_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(LINE)
    recipes = {"one": {"method": "lora", "train": str(tmp_path / "t.jsonl")}, "other": {}}
    found = training_files({"both": Trained.model_validate({"recipe": recipes}), "bare": Trained()})
    assert [len(examples) for examples in found.seen.values()] == [1]
    assert found.unchecked == dict.fromkeys(("both", "bare"), ("what an adapter was trained on is not recorded",))


def test_a_file_is_read_as_its_recipe_says_and_once(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("asked,told\nq,a\n")
    one = trained(train=str(tmp_path / "t.txt"), format="csv", csv={"query": "asked", "answer": "told"})
    found = training_files({"a": one, "b": one})
    assert [example.query for example in found.seen[tmp_path / "t.txt"]] == ["q"] and not found.unchecked


def test_a_file_that_is_no_longer_as_it_was_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{")
    bills = {name: trained(train=str(tmp_path / "t.jsonl")) for name in "ab"}
    found = training_files(bills)
    assert found.seen == {} and all("t.jsonl" in found.unchecked[name][0] for name in "ab")


def test_what_the_best_step_was_chosen_by_counts_as_trained_on(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text(LINE)
    names = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "validation")}
    assert sorted(path.stem for path in training_files({"tuned": trained(**names)}).seen) == ["train", "validation"]
