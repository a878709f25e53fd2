"""From mode strings to pinned versions, with adapters whose manifests are written by hand: nothing heavy is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from transformers import PreTrainedConfig

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterKind, AdapterManifest
from adapters.registry import Adapters
from indexer.store import Indexes, IndexManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, UnknownName
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.versions import Version
from service.catalog import Catalog

BASE = BaseModelInfo(Path("/nowhere"), "Org/Tiny-1B", "f" * 64, "LlamaForCausalLM", PreTrainedConfig())


@dataclass(frozen=True)
class Shelf:
    """Stores to put things into, and a catalogue over them."""

    adapters: Adapters
    indexes: Indexes
    templates: Templates
    default_index: str | None = None
    base: BaseModelInfo = BASE

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.base, self.adapters, self.indexes, self.templates, self.default_index)

    def adapter(self, name: str, kind: AdapterKind = "lora", virtual_tokens: int = 0) -> Version[AdapterManifest]:
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
    return Shelf(Adapters(tmp_path, database, BASE, None), Indexes(tmp_path, database), Templates(tmp_path, database))


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


def test_the_key_of_an_adapter_names_version_and_content(full: Shelf) -> None:
    weights = full.catalog.resolve("support-lora").weights
    assert weights is not None and (weights.key, weights.kind) == ("support-lora@1#0123456789ab", "lora")


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
