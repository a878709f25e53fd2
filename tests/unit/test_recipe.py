"""Recipes: what they may say, and that every misspelling fails at once and says where."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.recipe import METHODS, RATES, Method, Recipe, read_recipe
from ragtune.errors import RefusedArtifact

LORA = 'name = "support-lora"\nmethod = "lora"\ntrain = "train.jsonl"\n'


def read(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "recipe.toml").write_text(text)
    return read_recipe(tmp_path / "recipe.toml")[0]


def test_a_short_recipe_has_defaults_and_its_data_beside_it(tmp_path: Path) -> None:
    recipe = read(tmp_path, LORA)
    assert recipe.train == (tmp_path.resolve() / "train.jsonl",)
    assert (recipe.lora.rank, recipe.lora.target, recipe.epochs, recipe.index) == (16, "all-linear", 1, None)


def test_an_absolute_data_path_stays(tmp_path: Path) -> None:
    assert read(tmp_path, LORA.replace("train.jsonl", "/data/train.jsonl")).train == (Path("/data/train.jsonl"),)


def test_the_recipe_as_written_comes_along(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(LORA + "[lora]\nrank = 4\n")
    written = read_recipe(tmp_path / "recipe.toml")[1]
    assert written == {"name": "support-lora", "method": "lora", "train": "train.jsonl", "lora": {"rank": 4}}


def test_several_files_are_all_beside_the_recipe(tmp_path: Path) -> None:
    recipe = read(tmp_path, LORA.replace('"train.jsonl"', '["a.jsonl", "b.csv"]') + 'heldout = "c.jsonl"\n')
    here = tmp_path.resolve()
    assert (recipe.train, recipe.heldout) == ((here / "a.jsonl", here / "b.csv"), (here / "c.jsonl",))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_section_of_its_own_and_a_usual_learning_rate(tmp_path: Path, method: Method) -> None:
    recipe = read(tmp_path, LORA.replace('"lora"', f'"{method}"'))
    assert method in Recipe.model_fields
    assert recipe.rate == RATES[method][1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LORA + "lerning_rate = 1\n", "did you mean 'learning_rate'"),
        (LORA + "[lora]\nranks = 4\n", "unknown field 'ranks'; did you mean 'rank'"),
        (LORA.replace("name", "nmae"), "did you mean 'name'"),
        (LORA.replace('"lora"', '"lore"'), "unknown method 'lore'; did you mean 'lora'"),
        (LORA.replace('"lora"', '"partial"') + '[partial]\nlayers = 2\npatterns = ["*"]\n', "say either layers = 8"),
        (LORA + 'passages = "gold"\n', "need an index"),
        (LORA.replace("support-lora", "base"), "reserved word"),
        (LORA.replace("support-lora", "Support Lora"), "not a legal name"),
        (LORA.replace('name = "support-lora"\n', ""), "name: Field required"),
        (LORA + "[prompt_tuning]\nvirtual_tokens = 4\n", r"section \[prompt_tuning\] does not belong to method 'lora'"),
        (LORA + "top_k = 2\n", "need an index"),
        (LORA + 'index = "hand book"\n', "not a legal name"),
        (LORA + "epochs = 0\n", "epochs: Input should be greater than 0"),
        (LORA + "[lora]\ntarget = []\n", "lora.target"),
        (LORA + "seed = -1\n", "seed"),
        (LORA + "seed = 99999999999999\n", "seed"),
        (LORA + "evaluations = 1000000000000\n", "evaluations"),
        (LORA + "[lora]\nalpha = inf\n", "lora.alpha"),
        (LORA + "weights = { sums = inf }\n", "weights.sums"),
        (LORA + "epochs = = 1\n", "is not valid TOML"),
        ("", "Field required"),
    ],
)
def test_a_broken_recipe_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RefusedArtifact, match=reason):
        read(tmp_path, text)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match="cannot read recipe"):
        read_recipe(tmp_path / "none.toml")


@given(st.text(max_size=40))
def test_no_text_escapes_the_error_tree(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RefusedArtifact):
        read_recipe(path)
