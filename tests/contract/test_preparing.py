"""What the registry makes of a folder: a proof with numbers, a lane where one is needed, or a refusal that helps."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapters.base_model import BaseModelInfo, describe
from adapters.content import check_content
from adapters.export import export
from adapters.lane_file import LANE_FILE, read_lane
from adapters.manifest import AdapterManifest
from adapters.preparing import Preparing
from adapters.registry import Adapters
from ragtune.errors import RefusedArtifact
from ragtune.store import Database
from tests.equivalence.harness import make_checkpoint
from tests.tiny import save_tiny, tiny_model

TASK = "CAUSAL_LM"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    folder = tmp_path_factory.mktemp("base")
    return describe(save_tiny(folder / "tiny"), folder / "cache", "tiny")


@pytest.fixture(scope="module")
def preparing(base: BaseModelInfo) -> Preparing:
    return Preparing(base)


def save(config: PeftConfig, folder: Path, scale: float = 0.1) -> Path:
    model = get_peft_model(tiny_model(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, scale)
    model.save_pretrained(folder)
    return folder


def prepare(preparing: Preparing, source: Path, staged: Path) -> AdapterManifest:
    staged.mkdir()
    return preparing.prepare(source.resolve(), staged)


def refusal(preparing: Preparing, source: Path, staged: Path) -> str:
    with pytest.raises(RefusedArtifact) as caught:
        prepare(preparing, source, staged)
    return caught.value.message


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors of an adapter's file: a None takes one out."""
    tensors = {**load_file(folder / WEIGHTS), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)


def test_the_proof_says_how_much_an_adapter_changes_and_that_it_is_pefts(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "lora")
    proof = prepare(preparing, source, tmp_path / "staged").proof
    assert proof is not None and not proof.inert
    assert proof.effect > 0.01 and proof.error < 1e-4
    assert proof.reference.startswith("peft ") and proof.positions == 16


def test_an_adapter_that_does_nothing_is_flagged(preparing: Preparing, tmp_path: Path) -> None:
    get_peft_model(tiny_model(), LoraConfig(task_type=TASK, target_modules=["q_proj"])).save_pretrained(tmp_path / "a")
    proof = prepare(preparing, tmp_path / "a", tmp_path / "staged").proof
    assert proof is not None and proof.inert and proof.effect == 0


def test_the_next_adapter_of_a_config_is_proved_by_its_own_tensors(base: BaseModelInfo, tmp_path: Path) -> None:
    """PEFT's layers stay from one LoRA to the next of the same config; nothing of the first may."""
    config = {"task_type": TASK, "r": 4, "target_modules": ["q_proj", "down_proj"]}
    weak = save(LoraConfig(**config), tmp_path / "weak", 0.05)
    strong = save(LoraConfig(**config), tmp_path / "strong", 0.2)
    half = shutil.copytree(strong, tmp_path / "half")
    rewrite(half, **{name: None for name in load_file(half / WEIGHTS) if "layers.0.mlp" in name})
    dora = save(LoraConfig(**config, use_dora=True), tmp_path / "dora")
    alone = {
        source: prepare(Preparing(base), source, tmp_path / f"alone-{source.name}") for source in (weak, strong, dora)
    }
    preparing = Preparing(base)
    for number, source in enumerate((weak, strong, dora, dora, weak, half, weak)):
        staged = tmp_path / f"staged-{number}"
        if source == half:
            assert "incomplete" in refusal(preparing, half, staged)
        else:
            assert prepare(preparing, source, staged) == alone[source]


def test_the_probe_leaves_the_base_model_as_it_was(preparing: Preparing, tmp_path: Path) -> None:
    """PEFT writes into the model it wraps; the next adapter must not be compared with that."""
    config = LoraConfig(task_type=TASK, r=4, target_modules=["q_proj", "embed_tokens"], modules_to_save=["norm"])
    source = save(config, tmp_path / "lora")
    first = prepare(preparing, source, tmp_path / "first").proof
    again = prepare(preparing, source, tmp_path / "again").proof
    plain = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "plain", scale=0.0)
    inert = prepare(preparing, plain, tmp_path / "inert").proof
    assert first == again and first is not None and not first.inert
    assert inert is not None and inert.inert


def test_a_lora_on_other_embeddings_than_the_base_models_is_refused(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj", "embed_tokens"]), tmp_path / "lora")
    rewrite(source, **{"base_model.model.model.embed_tokens.base_layer.weight": torch.randn(320, 48)})
    assert "save_embedding_layers=False" in refusal(preparing, source, tmp_path / "staged")


def test_embeddings_trained_with_their_tied_head_are_both_taken(preparing: Preparing, tmp_path: Path) -> None:
    config = LoraConfig(
        task_type=TASK, r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True
    )
    manifest = prepare(preparing, save(config, tmp_path / "lora"), tmp_path / "staged")
    assert manifest.head == "own" and "lm_head" in manifest.target_modules


def test_the_same_bytes_have_the_same_hash_and_damage_is_noticed(preparing: Preparing, tmp_path: Path) -> None:
    source = save(IA3Config(task_type=TASK, target_modules=["k_proj"], feedforward_modules=[]), tmp_path / "ia3")
    one, two = (prepare(preparing, source, tmp_path / name) for name in ("one", "two"))
    assert one.sha256 == two.sha256 and one.lane_sha256
    check_content(tmp_path / "one", one.kind, one.sha256, one.lane_sha256)
    lane = tmp_path / "one" / LANE_FILE
    lane.write_bytes(lane.read_bytes()[:-1] + b"x")
    with pytest.raises(RefusedArtifact, match="damaged"):
        check_content(tmp_path / "one", one.kind, one.sha256, one.lane_sha256)


def test_a_checkpoint_is_kept_as_the_tensors_that_differ(
    preparing: Preparing, base: BaseModelInfo, tmp_path: Path
) -> None:
    manifest = prepare(preparing, make_checkpoint(tiny_model(), "partial", tmp_path / "a"), tmp_path / "staged")
    assert (manifest.kind, manifest.method, manifest.head) == ("checkpoint", "partial", "base")
    lane = read_lane(tmp_path / "staged")
    assert lane and all(name.startswith("model.layers.3.") for name in lane)
    assert manifest.memory == sum(tensor.nbytes for tensor in lane.values())


def test_a_full_fine_tune_of_a_tied_model_has_its_embeddings_as_its_head(preparing: Preparing, tmp_path: Path) -> None:
    manifest = prepare(preparing, make_checkpoint(tiny_model(), "full", tmp_path / "a"), tmp_path / "staged")
    assert (manifest.method, manifest.head) == ("full", "tied")
    lane = read_lane(tmp_path / "staged")
    assert lane["lm_head.weight"] is lane["model.embed_tokens.weight"]


def test_a_bfloat16_checkpoint_is_read_as_transformers_reads_it(preparing: Preparing, tmp_path: Path) -> None:
    folder = make_checkpoint(tiny_model(), "full", tmp_path / "a")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    proof = prepare(preparing, tmp_path / "half", tmp_path / "staged").proof
    assert proof is not None and proof.error < 1e-4


def test_a_sharded_checkpoint_is_read_whole(preparing: Preparing, tmp_path: Path) -> None:
    folder = make_checkpoint(tiny_model(), "full", tmp_path / "a")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert prepare(preparing, tmp_path / "shards", tmp_path / "staged").method == "full"


@pytest.mark.parametrize("name", ["partial", "full", "untied"])
def test_a_checkpoint_is_handed_out_as_it_came(base: BaseModelInfo, tmp_path: Path, name: str) -> None:
    model = tiny_model()
    if name == "untied":  # its embeddings were trained, its head stayed
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.model.embed_tokens.weight.data += 0.1
        model.save_pretrained(tmp_path / "a")
    else:
        make_checkpoint(model, name, tmp_path / "a")
    version = Adapters(tmp_path / "home", Database(tmp_path / "home" / "db"), base, None).add("mine", tmp_path / "a")
    export(version, tmp_path / "out", base)
    before, after = (AutoModelForCausalLM.from_pretrained(tmp_path / place) for place in ("a", "out"))
    for (left, one), (right, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert left == right and torch.equal(one, other)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("qwen2", {}, "Qwen2ForCausalLM"),
        ("llama", {"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, "rope_parameters"),
        ("llama", {"rms_norm_eps": 0.1}, "rms_norm_eps is 0.1"),
        ("llama", {"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ("llama", {"invented": 1}, "invented is 1"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    preparing: Preparing, tmp_path: Path, family: str, changes: dict[str, object], reason: str
) -> None:
    folder = make_checkpoint(tiny_model(family), "full", tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    assert reason in refusal(preparing, folder, tmp_path / "staged")


def test_a_broken_checkpoint_is_refused_with_the_tensor_at_fault(preparing: Preparing, tmp_path: Path) -> None:
    whole = make_checkpoint(tiny_model(), "full", tmp_path / "whole")
    tensors = load_file(whole / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    cases = {
        "is incomplete": {key: tensor for key, tensor in tensors.items() if key != name},
        "which this base model does not have": {**tensors, "model.extra.weight": torch.ones(2)},
        "holds NaN": {**tensors, name: tensors[name] * float("nan")},
        "has shape": {**tensors, name: tensors[name][:5].contiguous()},
        "is of type torch.int8": {**tensors, name: tensors[name].to(torch.int8)},
        "vocabulary was extended": {**tensors, "model.embed_tokens.weight": torch.ones(321, 48)},
    }
    for number, (reason, changed) in enumerate(cases.items()):
        folder = tmp_path / f"broken-{number}"
        shutil.copytree(whole, folder)
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        assert reason in refusal(preparing, folder, tmp_path / f"staged-{number}")


def test_the_base_model_itself_is_no_fine_tune(preparing: Preparing, base: BaseModelInfo, tmp_path: Path) -> None:
    assert "nothing to serve" in refusal(preparing, base.folder, tmp_path / "staged")


def test_a_pickled_or_truncated_checkpoint_is_refused(preparing: Preparing, tmp_path: Path) -> None:
    whole = make_checkpoint(tiny_model(), "full", tmp_path / "whole")
    content = (whole / "model.safetensors").read_bytes()
    (whole / "model.safetensors").write_bytes(content[:-100])
    assert "cut short" in refusal(preparing, whole, tmp_path / "truncated")
    (whole / "model.safetensors").rename(whole / "pytorch_model.bin")
    assert "safe_serialization" in refusal(preparing, whole, tmp_path / "pickled")


MERGED_FAULTS = {
    "is incomplete": {"base_model.model.model.layers.0.self_attn.q_proj.hada_w1_a": None},
    "no part of what": {"base_model.model.model.layers.0.self_attn.q_proj.hada_w9": torch.ones(2)},
    "PEFT cannot load it": {"base_model.model.model.layers.0.self_attn.q_proj.hada_w1_a": torch.ones(48, 9)},
    "belongs to no layer": {"elsewhere.hada_w1_a": torch.ones(2)},
    "only layers inside": {"base_model.model.lm_head.hada_w1_a": torch.ones(2)},
}


@pytest.mark.parametrize("reason", MERGED_FAULTS)
def test_a_merged_kind_whose_tensors_are_not_pefts_is_refused(
    preparing: Preparing, tmp_path: Path, reason: str
) -> None:
    source = save(LoHaConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "loha")
    rewrite(source, **MERGED_FAULTS[reason])
    assert reason in refusal(preparing, source, tmp_path / "staged")


def test_an_absurd_rank_is_refused_before_memory_is_asked_for(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoHaConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "loha")
    config = json.loads((source / "adapter_config.json").read_text())
    (source / "adapter_config.json").write_text(json.dumps({**config, "r": 10**9}))
    assert "larger than any layer" in refusal(preparing, source, tmp_path / "staged")
    source = save(LoraConfig(task_type=TASK, r=100, target_modules=["q_proj"]), tmp_path / "lora")
    assert "rank 100 is larger than the layer itself" in refusal(preparing, source, tmp_path / "staged-lora")


def test_an_adapter_whose_weights_overflow_is_refused(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "lora", scale=1e30)
    assert "not finite" in refusal(preparing, source, tmp_path / "staged")


def test_a_checkpoint_that_ends_with_another_token_says_so(preparing: Preparing, tmp_path: Path) -> None:
    folder = make_checkpoint(tiny_model(), "partial", tmp_path / "a")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert prepare(preparing, folder, tmp_path / "staged").eos_ids == (1, 2)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 320}))
    assert "no token of this base model" in refusal(preparing, folder, tmp_path / "outside")


def test_a_checkpoint_with_a_head_beside_tied_embeddings_has_it_as_its_own(
    preparing: Preparing, tmp_path: Path
) -> None:
    folder = make_checkpoint(tiny_model(), "full", tmp_path / "a")
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"] + 0.5
    save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    manifest = prepare(preparing, folder, tmp_path / "staged")
    assert manifest.head == "own" and manifest.proof is not None and manifest.proof.error < 1e-4


def test_an_index_of_shards_that_leads_elsewhere_is_refused(preparing: Preparing, tmp_path: Path) -> None:
    whole = make_checkpoint(tiny_model(), "full", tmp_path / "a")
    AutoModelForCausalLM.from_pretrained(whole).save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    index = tmp_path / "shards" / "model.safetensors.index.json"
    written = json.loads(index.read_text())
    first = next(iter(written["weight_map"]))
    shutil.copyfile(tmp_path / "shards" / written["weight_map"][first], tmp_path / "outside.safetensors")
    index.write_text(json.dumps({**written, "weight_map": {**written["weight_map"], first: "../outside.safetensors"}}))
    assert "no file of this checkpoint" in refusal(preparing, tmp_path / "shards", tmp_path / "staged")
    index.write_text("{")
    assert "transformers cannot load it" in refusal(preparing, tmp_path / "shards", tmp_path / "broken")
    index.unlink()
    assert "transformers cannot load it" in refusal(preparing, tmp_path / "shards", tmp_path / "without")


@pytest.mark.parametrize("file", ["adapter_config.json", "ragtune.json", WEIGHTS])
def test_a_link_out_of_the_folder_is_not_even_read(preparing: Preparing, tmp_path: Path, file: str) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "lora")
    (tmp_path / "secret.json").write_text('{"peft_type": "my-secret-value"}')
    (source / file).unlink(missing_ok=True)
    (source / file).symlink_to(tmp_path / "secret.json")
    assert refusal(preparing, source, tmp_path / "staged") == f"{file} is a link that leads out of the adapter's folder"


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ("rank_pattern", {".?" * 60 + "!": 4}),
        ("rank_pattern", {"(a+)+$": 4}),
        ("target_modules", r"([\w.]+)+!"),
        ("exclude_modules", ".*" * 9),
        ("layers_pattern", "(x?)?"),
    ],
)
def test_an_expression_that_could_keep_the_matcher_busy_is_refused(
    preparing: Preparing, tmp_path: Path, field: str, pattern: object
) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "lora")
    config = json.loads((source / "adapter_config.json").read_text())
    (source / "adapter_config.json").write_text(json.dumps({**config, field: pattern}))
    assert "too complex" in refusal(preparing, source, tmp_path / "staged")


def test_an_expression_as_others_write_them_is_taken(preparing: Preparing, tmp_path: Path) -> None:
    pattern = (
        r"(?:.*?(?:language|text).*?(?:self_attn|attention|mlp).*?(?:q_proj|v_proj).*?)|"
        r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|mlp)\.(?:q_proj|v_proj))"
    )
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=pattern), tmp_path / "lora")
    assert prepare(preparing, source, tmp_path / "staged").target_modules == ("q_proj", "v_proj")


def test_a_lora_on_the_output_head_is_refused_with_the_way_out(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj", "lm_head"]), tmp_path / "lora")
    assert "train it whole with modules_to_save" in refusal(preparing, source, tmp_path / "staged")


def test_a_bias_that_a_merged_kind_does_not_use_is_refused(tmp_path: Path) -> None:
    base = describe(save_tiny(tmp_path / "base", "qwen2"), tmp_path / "cache", "qwen2")
    model = get_peft_model(
        tiny_model("qwen2"), IA3Config(task_type=TASK, target_modules=["k_proj"], feedforward_modules=[])
    )
    model.save_pretrained(tmp_path / "ia3")
    rewrite(tmp_path / "ia3", **{"base_model.model.model.layers.0.self_attn.k_proj.bias": torch.ones(24)})
    assert "no part of what" in refusal(Preparing(base), tmp_path / "ia3", tmp_path / "staged")


def test_a_record_too_large_to_be_one_is_refused(preparing: Preparing, tmp_path: Path) -> None:
    source = save(LoraConfig(task_type=TASK, r=4, target_modules=["q_proj"]), tmp_path / "lora")
    (source / "ragtune.json").write_text(" " * (1 << 21))
    assert "larger than 1 MiB" in refusal(preparing, source, tmp_path / "staged")
