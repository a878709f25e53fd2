"""Training on the embedded models: a LoRA on retrieved passages of the invented company, and a soft prompt."""

from pathlib import Path

import pytest

from adapters.train import mode_of
from indexer.embedding import load_embedder
from indexer.store import Indexes
from ragtune.demo.company import write_company
from ragtune.settings import Settings
from ragtune.store import Database
from tests.small_index import build_index
from tests.tiny_training import train_from_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with the company's handbook; converted models come from the user's cache."""
    settings = Settings.load({}, home=tmp_path_factory.mktemp("home"))
    company = write_company(settings.home / "company")
    build_index(company.docs, "handbook", Indexes(settings.home, Database(settings.database)), load_embedder(settings))
    return settings


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("method", "learning_rate", "falls_to"), [("lora", 1e-3, 1.2), ("prompt_tuning", 5e-2, 2.0)])
def test_a_few_steps_with_retrieved_passages_lower_the_loss(
    settings: Settings, method: str, learning_rate: float, falls_to: float
) -> None:
    path: Path = settings.home / "company" / f"{method}.toml"
    path.write_text(
        f'name = "{method.replace("_", "-")}"\nmethod = "{method}"\ntrain = "knowledge-train.jsonl"\n'
        f'index = "handbook"\nlimit = 40\nlearning_rate = {learning_rate}\n'
    )
    version = train_from_file(path, settings)
    record = version.manifest.training
    assert record is not None and record.final_loss is not None
    assert record.final_loss < falls_to  # it begins near 3
    assert (record.index, version.manifest.base) == ("handbook@1", "verified")
    assert str(mode_of(version)) == f"{version.name}+rag:handbook"
