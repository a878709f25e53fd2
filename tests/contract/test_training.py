"""Training from a recipe: the loss is the plain one, prompts are the service's, and plain PEFT loads what comes out.

On tiny models of every family; one token a byte.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters.answer_loss import task_losses, together
from adapters.base_model import describe
from adapters.dataset import Item
from adapters.manifest import AdapterManifest
from adapters.mixing import plan
from adapters.recipe import LoraOptions, PromptTuningOptions, Recipe
from adapters.registry import Adapters
from adapters.tokenizer import load_tokenizer
from adapters.train import mode_of
from indexer.record import Found
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import Indexes
from ragtune.audit import AuditLog
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import Example
from ragtune.feedback import FeedbackLog
from ragtune.jobs import Jobs
from ragtune.keys import Keys
from ragtune.mode_aliases import ModeAliases
from ragtune.prompt import Message
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.versions import Versions
from ragtune.wire import Sampling
from service.access import Gate
from service.catalog import Catalog
from service.exchanges import Exchanges
from service.parts import Parts
from service.pipeline import Ask, prepare_all
from service.rebuilding import Rebuilding
from service.train_cli import train as train_command
from service.working import Workers
from tests.fakes import EchoEngine, LetterEmbedder, ThreadPreparer
from tests.rendering import render_all
from tests.small_index import build_index
from tests.tiny import save_tiny
from tests.tiny_training import train_from_file

PAD = 2
LORA = 'name = "short"\nmethod = "lora"\ntrain = "train.jsonl"\nlearning_rate = 2e-2\nepochs = 5\nbatch_tokens = 100\n'
LORA += "validation_share = 0\nforgetting = false\n"
SOFT = (
    'name = "soft"\nmethod = "prompt_tuning"\ntrain = "train.jsonl"\nlearning_rate = 2e-1\nepochs = 5\n'
    "batch_tokens = 100\nvalidation_share = 0\nforgetting = false\n"
    '[prompt_tuning]\nvirtual_tokens = 4\ninit_text = "Be brief."\n'
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of its own over a tiny base model, with training data beside the recipes in `tmp_path`."""
    base = save_tiny(tmp_path / "tiny-llama")
    examples = [Example(id=str(n), query=f"{n} + {n}?", answers=("yes",)) for n in range(12)]
    (tmp_path / "train.jsonl").write_text("".join(e.model_dump_json() + "\n" for e in examples))
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache", base_model=str(base))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def recipe(method: str, **fields: object) -> Recipe:
    options = {"prompt_tuning": PromptTuningOptions(virtual_tokens=4, init_text="Be brief.")}
    own = options if method == "prompt_tuning" else {"lora": LoraOptions(rank=4)}
    return Recipe.model_validate({"name": "x", "method": method, "train": "x", **own, **fields})


def mean_loss(model: PreTrainedModel | PeftModel, items: list[Item]) -> float:
    """Of all tokens of all answers."""
    return together(list(task_losses(model, items, PAD, 1000).values())).mean


@pytest.mark.parametrize("text", [LORA, SOFT], ids=["lora", "prompt_tuning"])
def test_training_publishes_an_adapter_that_plain_peft_loads_and_that_has_learned(
    tmp_path: Path, settings: Settings, text: str
) -> None:
    version = train_from_file(write(tmp_path, text), settings)
    record = version.manifest.training
    assert record is not None
    assert (record.examples, record.trainable_parameters) == (12, version.manifest.parameters)
    assert (record.base_id, version.manifest.base) == ("tiny-llama", "verified")
    assert str(mode_of(version)) == version.name

    plain = AutoModelForCausalLM.from_pretrained(settings.base_model)
    asked = [Example(id="new", query="77 + 77?", answers=("yes",))]
    items = render_all(asked, Template(), load_tokenizer(Path(settings.base_model)), None, 0, 1000).items
    before = mean_loss(plain, items)
    after = mean_loss(PeftModel.from_pretrained(plain, version.folder), items)
    assert after < 0.8 * before

    written = (version.folder / "adapter_config.json").read_text()
    assert json.loads(written)["base_model_name_or_path"] == "tiny-llama"
    assert str(tmp_path) not in written


def test_the_same_recipe_trains_the_same_weights(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path, LORA)
    first, second = (train_from_file(path, settings).folder / "adapter_model.safetensors" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_only_the_last_layers_are_trained_if_the_recipe_says_so(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path, LORA + '[lora]\nlayers = 1\ntarget = ["q_proj", "mlp.down_proj"]\n')
    version = train_from_file(path, settings)
    with safe_open(version.folder / "adapter_model.safetensors", framework="pt") as file:
        modules = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in file.keys()}  # noqa: SIM118
    assert modules == {"model.layers.3.self_attn.q_proj", "model.layers.3.mlp.down_proj"}


def test_max_steps_and_parts_of_epochs_end_a_training(tmp_path: Path) -> None:
    items = [Item(str(n), (5,) * 9, (PAD,)) for n in range(100)]
    whole = plan(items, recipe("lora", batch_tokens=100))
    assert len(whole) == 11 and {len(step) for step in whole} == {1}  # of 64 and 36 items, ten a batch
    assert plan(items, recipe("lora", batch_tokens=100, max_steps=5)) == whole[:5]
    assert len(plan(items, recipe("lora", batch_tokens=100, epochs=0.5))) == 6
    four = plan(items, recipe("lora", batch_tokens=100, accumulate=4))
    assert [len(step) for step in four] == [4, 4, 3] and [batch for step in four for batch in step] == [
        s[0] for s in whole
    ]
    twice = plan(items, recipe("lora", batch_tokens=100, epochs=2))
    assert twice[:11] == whole and twice[11:] != whole


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        (LORA + "[lora]\nalpha = 1e30\n", RefusedArtifact, "diverged at step"),
        (LORA + '[lora]\ntarget = ["q_proj", "v_prj"]\n', RefusedArtifact, "'v_prj' matches no linear layer.*v_proj"),
        (LORA + '[lora]\ntarget = ["lm_head"]\n', RefusedArtifact, "'lm_head' matches no linear layer"),
        (LORA + "[lora]\nlayers = 5\n", RefusedArtifact, "this model has 4 layers"),
        (LORA + "max_tokens = 20\n", RefusedArtifact, "12 are longer than 20 tokens"),
        (LORA + 'task = "sums"\n', RefusedArtifact, "no example of task 'sums'"),
        (LORA.replace("train.jsonl", "other.jsonl"), RefusedArtifact, "cannot read examples"),
        (LORA + 'index = "handbok"\n', UnknownName, "did you mean 'handbook'"),
        (LORA + 'template = "breif"\n', UnknownName, "did you mean 'brief'"),
    ],
)
def test_a_training_that_cannot_be_done_says_why_and_publishes_nothing(
    tmp_path: Path, settings: Settings, text: str, error: type[Exception], reason: str
) -> None:
    database = Database(settings.database)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("aaa")
    build_index(tmp_path / "docs", "handbook", Indexes(settings.home, database), LetterEmbedder())
    Templates(settings.home, database).add("brief", 'system = "Be brief."')
    with pytest.raises(error, match=reason):
        train_from_file(write(tmp_path, text), settings)
    assert Versions(settings.home, database, "adapter", AdapterManifest).names() == []


async def test_prompts_of_training_are_those_the_service_sends_to_its_engine(
    tmp_path: Path, settings: Settings
) -> None:
    folder = Path(settings.base_model)
    base, tokenizer, database = (
        describe(folder, settings.cache, "tiny"),
        load_tokenizer(folder),
        Database(settings.database),
    )
    adapters, indexes = Adapters(settings.home, database, base, None), Indexes(settings.home, database)
    templates, retriever = Templates(settings.home, database), Retriever(LetterEmbedder())
    (tmp_path / "docs").mkdir()
    for letter in "abcdef":
        (tmp_path / "docs" / f"{letter}.md").write_text(f"# {letter}\n\n" + f"{letter * 5} <|im_end|> " * 4)
    index = build_index(tmp_path / "docs", "letters", indexes, LetterEmbedder()).version
    template = templates.add("brief", 'system = "Be brief."')
    engine, preparer = EchoEngine(), ThreadPreparer(base)
    catalog = Catalog(base, adapters, indexes, templates, ModeAliases(database), settings)
    gate, audit = Gate(Keys(database), loopback=True), AuditLog(database)
    stores = (adapters, indexes, templates)
    jobs = Jobs(database, settings.home)
    workers = Workers(jobs, settings.home)
    beside = (jobs, workers, Rebuilding(workers), Exchanges(0), FeedbackLog(database))
    parts = Parts(settings, base, tokenizer, *stores, catalog, retriever, engine, preparer, gate, audit, *beside)

    asked = [Example(id=letter, query=f"{letter}{letter}?", answers=("x",)) for letter in "abf"]

    def search(query: str) -> list[Found]:
        return retriever.search(index, Search.under(settings, query))

    trained = render_all(asked, template.manifest.template, tokenizer, search, settings.passage_tokens, 10_000).items
    for example, item in zip(asked, trained, strict=True):
        messages = (Message(role="user", content=example.query),)
        ask = Ask("prompt:brief+rag:letters", Sampling(), messages, max_tokens=1, namespace="")
        (prepared,) = await prepare_all([ask], parts)
        assert 0 < len(prepared.composed.passages) < settings.top_k  # some were found, and the budget cut some
        assert engine.generations[-1].token_ids == item.prompt


def test_the_command_prints_the_record_as_json_and_how_to_ask(tmp_path: Path, settings: Settings) -> None:
    environ = {
        "RAGTUNE_HOME": str(settings.home),
        "RAGTUNE_CACHE": str(settings.cache),
        "RAGTUNE_BASE_MODEL": settings.base_model,
    }
    path = str(write(tmp_path, LORA + "max_steps = 2\n"))
    printed = CliRunner().invoke(train_command, [path, "--json"], env=environ, catch_exceptions=False)
    published = json.loads(printed.stdout)
    assert (published["version"], published["manifest"]["training"]["steps"]) == ("short@1", 2)
    told = CliRunner().invoke(train_command, [path], env=environ, catch_exceptions=False)
    assert "published short@" in told.stdout and "--mode short" in told.stdout
