"""From mode strings to pinned versions, with adapters whose manifests are written by hand: nothing heavy is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from transformers import PreTrainedConfig

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterKind, AdapterManifest, TrainingRecord
from adapters.registry import Adapters
from indexer.store import Indexes, IndexManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, UnknownName
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.versions import Version
from service.catalog import Catalog
from service.notes import remarks

BASE = BaseModelInfo(Path("/nowhere"), "Org/Tiny-1B", "f" * 64, "LlamaForCausalLM", PreTrainedConfig())


@dataclass(frozen=True)
class Shelf:
    """Stores to put things into, and a catalogue over them."""

    adapters: Adapters
    indexes: Indexes
    templates: Templates
    aliases: ModeAliases
    default_index: str | None = None
    base: BaseModelInfo = BASE

    @property
    def catalog(self) -> Catalog:
        settings = Settings(default_index=self.default_index)
        return Catalog(self.base, self.adapters, self.indexes, self.templates, self.aliases, settings)

    def adapter(
        self, name: str, kind: AdapterKind = "lora", virtual_tokens: int = 0, training: TrainingRecord | None = None
    ) -> Version[AdapterManifest]:
        manifest = AdapterManifest(
            kind=kind,
            method="lora" if kind == "lora" else "prompt_tuning",
            base="unverified",
            base_name=None,
            checked_against=BASE.fingerprint,
            architecture="LlamaForCausalLM",
            sha256="0123456789abcdef",
            bytes=1,
            parameters=1,
            virtual_tokens=virtual_tokens,
            training=training,
        )
        with self.adapters.versions.staging() as folder:
            return self.adapters.versions.publish(name, folder, manifest)

    def index(self, name: str) -> Version[IndexManifest]:
        manifest = IndexManifest(
            documents=1,
            passages=1,
            embedding_model="m",
            embedding_fingerprint="e",
            dimension=2,
            max_tokens=9,
            splitter=1,
            corpus_sha256="c",
            seconds=0.1,
        )
        with self.indexes.versions.staging() as folder:
            return self.indexes.versions.publish(name, folder, manifest)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    database = Database(tmp_path / "db")
    adapters, indexes = Adapters(tmp_path, database, BASE, None), Indexes(tmp_path, database)
    return Shelf(adapters, indexes, Templates(tmp_path, database), ModeAliases(database))


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """Two of each kind."""
    for name in ("support-lora", "other-lora"):
        shelf.adapter(name)
    shelf.adapter("polite-soft", "soft_prompt", virtual_tokens=20)
    shelf.adapter("my-prefix", "prefix", virtual_tokens=7)
    shelf.index("handbook")
    shelf.templates.add("few-shot", 'system = "Be brief."')
    return shelf


@pytest.mark.parametrize("text", ["base", "Org/Tiny-1B"])
def test_the_base_model_has_two_names_and_adds_nothing(full: Shelf, text: str) -> None:
    configuration = full.catalog.resolve(text)
    assert (configuration.mode, configuration.versions, configuration.template) == ("base", {}, Template())
    assert configuration.weights is configuration.prefix is configuration.index is None


def test_every_part_is_pinned_and_put_in_canonical_order(full: Shelf) -> None:
    full.adapter("support-lora")
    configuration = full.catalog.resolve("rag:handbook+polite-soft+prompt:few-shot+support-lora@1")
    assert configuration.mode == "support-lora@1+polite-soft@1+prompt:few-shot@1+rag:handbook@1"
    assert configuration.versions == {
        "weights": "support-lora@1",
        "prefix": "polite-soft@1",
        "template": "few-shot@1",
        "index": "handbook@1",
    }
    assert configuration.template.system == "Be brief."
    assert configuration.prefix is not None and configuration.prefix.virtual_tokens == 20
    assert full.catalog.resolve(configuration.mode) == replace(configuration, asked=configuration.mode)


def test_the_key_of_an_adapter_is_its_name_and_content(full: Shelf) -> None:
    weights = full.catalog.resolve("support-lora").weights
    assert weights is not None and (weights.key, weights.kind) == ("support-lora#0123456789abcdef", "lora")


def test_an_adapter_may_be_asked_for_behind_the_base_models_id(full: Shelf) -> None:
    assert full.catalog.resolve("Org/Tiny-1B:support-lora").mode == "support-lora@1"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("support-lora+other-lora", "one weight adapter at most, support-lora and other-lora are two"),
        ("polite-soft+my-prefix", "one soft prompt or prefix at most, polite-soft and my-prefix are two"),
    ],
)
def test_two_adapters_of_a_kind_do_not_fit_together(full: Shelf, mode: str, reason: str) -> None:
    with pytest.raises(IncompatibleParts, match=reason):
        full.catalog.resolve(mode)


def test_an_adapter_checked_against_another_base_model_is_refused(full: Shelf) -> None:
    moved = replace(full, base=replace(BASE, fingerprint="0" * 64))
    with pytest.raises(IncompatibleParts, match="support-lora@1 was checked against another base model"):
        moved.catalog.resolve("support-lora")


@pytest.mark.parametrize(
    ("mode", "near"),
    [
        ("support-lore", "did you mean 'support-lora'"),
        ("bas", "did you mean 'base'"),
        ("handbook", "'rag:handbook'"),
        ("fewshot", "'prompt:few-shot'"),
        ("Org/Tiny-1b", "did you mean 'Org/Tiny-1B'"),
        ("Support-Lora", "unknown mode 'Support-Lora'; did you mean"),
        ("rag:hand-book", "did you mean 'handbook'"),
        ("prompt:few-shots", "did you mean 'few-shot'"),
        ("support-lora@7", "unknown version of adapter 'support-lora': '7'"),
        ("support-lora+polite-sof", "did you mean 'polite-soft'"),
        ("gpt-4o", "unknown adapter or mode 'gpt-4o'"),
    ],
)
def test_an_unknown_name_is_told_its_near_matches_and_never_becomes_the_base_model(
    full: Shelf, mode: str, near: str
) -> None:
    with pytest.raises(UnknownName) as caught:
        full.catalog.resolve(mode)
    assert near in caught.value.message


def test_a_bare_rag_means_the_only_index(full: Shelf) -> None:
    assert full.catalog.resolve("rag").mode == "rag:handbook@1"


def test_with_several_indexes_a_bare_rag_needs_a_default(full: Shelf) -> None:
    full.index("notes")
    with pytest.raises(InvalidRequest, match=r"rag:NAME \(handbook, notes\)"):
        full.catalog.resolve("rag")
    assert replace(full, default_index="notes").catalog.resolve("rag").mode == "rag:notes@1"


def test_without_an_index_rag_is_an_error_that_says_how_to_build_one(shelf: Shelf) -> None:
    with pytest.raises(UnknownName, match="ragtune index build"):
        shelf.catalog.resolve("rag")


def test_a_default_index_that_does_not_exist_is_no_silent_fallback(full: Shelf) -> None:
    with pytest.raises(UnknownName, match="did you mean 'handbook'"):
        replace(full, default_index="handbok").catalog.resolve("rag")


def test_what_another_process_publishes_is_found_at_once(full: Shelf) -> None:
    catalog = full.catalog
    full.adapter("support-lora")
    assert catalog.resolve("support-lora").mode == "support-lora@2"
    full.adapters.remove("support-lora")
    with pytest.raises(UnknownName):
        catalog.resolve("support-lora")


def test_the_modes_there_are_can_all_be_resolved(full: Shelf) -> None:
    modes = full.catalog.modes()
    assert modes == [
        "base",
        *("my-prefix", "other-lora", "polite-soft", "support-lora"),
        "prompt:few-shot",
        *("rag", "rag:handbook"),
    ]
    for mode in modes:
        assert full.catalog.resolve(mode)


def test_an_alias_of_an_adapter_is_a_version_like_any_other(full: Shelf) -> None:
    full.adapter("support-lora")
    full.adapters.versions.set_alias("support-lora", "prod", 1)
    assert full.catalog.resolve("support-lora@prod+rag").mode == "support-lora@1+rag:handbook@1"
    with pytest.raises(UnknownName, match="did you mean 'prod'"):
        full.catalog.resolve("support-lora@prd")


@pytest.mark.parametrize("asked", ["best", "Org/Tiny-1B:best"])
def test_a_mode_alias_means_its_mode_with_the_versions_of_the_moment(full: Shelf, asked: str) -> None:
    full.catalog.set_alias("best", "rag+support-lora@1")
    full.adapter("support-lora")
    full.index("handbook")
    configuration = full.catalog.resolve(asked)
    assert (configuration.asked, configuration.mode) == (asked, "support-lora@1+rag:handbook@2")


def test_a_mode_alias_names_a_mode_that_can_be_had(full: Shelf) -> None:
    for mode, error in (("suport-lora", UnknownName), ("support-lora+other-lora", IncompatibleParts)):
        with pytest.raises(error):
            full.catalog.set_alias("best", mode)
    assert full.aliases.all() == []
    assert full.catalog.set_alias("best", "Org/Tiny-1B:support-lora").mode == "support-lora"
    assert full.catalog.set_alias("plain", "Org/Tiny-1B").mode == "base"


@pytest.mark.parametrize("mode", ["best+rag", "best@1", "polite-soft+best"])
def test_a_mode_alias_stands_alone(full: Shelf, mode: str) -> None:
    full.catalog.set_alias("best", "support-lora@1+rag")
    for asking in (full.catalog.resolve, lambda text: full.catalog.set_alias("other", text)):
        with pytest.raises(InvalidRequest, match=r"stands alone; write out what it means: support-lora@1\+rag"):
            asking(mode)


def test_a_mode_alias_never_means_another(full: Shelf) -> None:
    full.catalog.set_alias("best", "rag")
    with pytest.raises(InvalidRequest, match="'best' is an alias for a whole mode and stands alone"):
        full.catalog.set_alias("better", "best")


def test_a_mode_alias_is_no_second_name_of_an_adapter_or_the_base_model(full: Shelf) -> None:
    tiny = replace(full, base=replace(BASE, id="tiny"))
    for name, reason in (("support-lora", "is an adapter"), ("tiny", "is the base model"), ("rag", "reserved word")):
        with pytest.raises(InvalidRequest, match=reason):
            tiny.catalog.set_alias(name, "base")


def test_a_mode_alias_whose_adapter_was_deleted_says_what_it_means_and_goes_back_past_it(full: Shelf) -> None:
    for mode in ("rag", "other-lora", "support-lora"):
        full.catalog.set_alias("best", mode)
    for name in ("other-lora", "support-lora"):
        full.adapters.remove(name)
    with pytest.raises(UnknownName, match="best means support-lora: unknown adapter or mode 'support-lora'"):
        full.catalog.resolve("best")
    assert full.catalog.rollback_alias("best").mode == "rag"
    with pytest.raises(IncompatibleParts):
        full.catalog.rollback_alias("best")


def test_a_misspelt_mode_alias_is_told_the_right_one(full: Shelf) -> None:
    full.catalog.set_alias("production", "rag")
    with pytest.raises(UnknownName, match="did you mean 'production'"):
        full.catalog.resolve("prodution")


def trained(index: str | None = None, template: str | None = None, metrics: object = None) -> TrainingRecord:
    record = dict.fromkeys(("seconds", "steps", "examples", "tokens", "trainable_parameters"), 1)
    words = dict.fromkeys(("base_fingerprint", "base_id", "data_sha256", "created"), "x")
    record |= {**words, "method": "lora", "recipe": {}, "final_loss": 1.0, "versions": {}, "metrics": metrics or {}}
    return TrainingRecord.model_validate(
        {**record, "rendering_hash": "as-trained", "index": index, "template": template}
    )


@pytest.mark.parametrize(
    ("index", "mode", "note"),
    [
        ("handbook@1", "own+rag", None),
        ("handbook@2", "own+rag", "own@1 was trained with passages of handbook@2, this mode uses handbook@1"),
        ("handbook@1", "own", "own@1 was trained with passages of handbook@1, this mode retrieves none"),
        (None, "own+rag", None),
        (None, "own", None),
    ],
)
def test_a_mode_with_another_index_than_its_adapter_was_trained_with_says_so(
    full: Shelf, index: str | None, mode: str, note: str | None
) -> None:
    full.adapter("own", training=trained(index=index))
    assert remarks(full.catalog.resolve(mode), "as-trained") == ([note] if note else [])


@pytest.mark.parametrize(
    ("template", "mode", "note"),
    [
        (None, "own", "on prompts rendered otherwise than here: by another version of ragtune"),
        (None, "own+prompt:few-shot", "with the built-in layout, this mode uses template few-shot@1"),
        ("few-shot@1", "own", "with template few-shot@1, this mode uses the built-in layout"),
        ("few-shot@7", "own+prompt:few-shot", "with template few-shot@7, this mode uses template few-shot@1"),
    ],
)
def test_a_mode_that_renders_prompts_otherwise_than_in_training_says_so(
    full: Shelf, template: str | None, mode: str, note: str
) -> None:
    full.adapter("own", training=trained(template=template))
    configuration = full.catalog.resolve(mode)
    (said,) = remarks(configuration, "otherwise")
    assert said.startswith(f"own@1 was trained {note}")
    assert remarks(configuration, "as-trained") == []  # the same content under another name is no difference
    assert remarks(configuration, None) == []  # nothing renders a raw prompt


def test_every_adapter_of_a_mode_speaks_for_itself_and_those_made_elsewhere_are_silent(full: Shelf) -> None:
    full.adapter("own", training=trained(index="notes@1"))
    full.adapter("own-soft", "soft_prompt", training=trained(index="notes@2"))
    assert len(remarks(full.catalog.resolve("own+own-soft+rag"), "otherwise")) == 4
    assert remarks(full.catalog.resolve("support-lora+polite-soft+rag"), "otherwise") == []


def test_a_training_record_may_carry_metrics_which_are_finite_numbers() -> None:
    assert trained(metrics={"token_f1": 0.7}).metrics == {"token_f1": 0.7}
    assert trained().metrics == {}
    with pytest.raises(ValueError, match="finite"):
        trained(metrics={"token_f1": float("nan")})
