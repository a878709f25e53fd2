"""Every technique: the loss is the plain one, it starts where it did, and its own library loads what is saved."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from adapters import answer_loss
from adapters.acceptance import Answered, check_saved, check_served
from adapters.base_model import BaseModelInfo
from adapters.dataset import Item
from adapters.learning import learn
from adapters.packed_linear import FrozenLinear
from adapters.preparing import Preparing
from adapters.recipe import Recipe
from adapters.techniques import begin
from adapters.techniques.trainee import Trainee
from adapters.tokenizer import load_tokenizer
from ragtune.errors import RefusedArtifact
from tests.tiny import FAMILIES
from tests.tiny_training import EVERY, PAD, base_in, batch_loss, items, moved, recipe, silent, steps

BATCH = [
    Item("a", (5, 9, 30, 31, 7), (40, 41, PAD)),
    Item("b", (11, 12, 13), (50, PAD)),
    Item("c", tuple(range(60, 90)), (91, 92, 93, PAD)),
]
KINDS = {
    "full": ("checkpoint", "full"),
    "partial": ("checkpoint", "partial"),
    "lora": ("lora", "lora"),
    "dora": ("merged", "dora"),
    "ia3": ("merged", "ia3"),
    "prompt_tuning": ("soft_prompt", "prompt_tuning"),
    "p_tuning": ("soft_prompt", "p_tuning"),
    "prefix_tuning": ("prefix", "prefix_tuning"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    return base_in(tmp_path_factory.mktemp("base"))


def plain_loss(trainee: Trainee, batch: Sequence[Item]) -> Tensor:
    """Each item alone, unpadded, all logits computed by the library's own forward, the answer's picked out."""
    losses = []
    for item in batch:
        logits = trainee.model(input_ids=torch.tensor([[*item.prompt, *item.answer]]), use_cache=False).logits[0]
        answer = logits[-len(item.answer) - 1 : -1]
        losses.append(F.cross_entropy(answer, torch.tensor(item.answer), reduction="none"))
    return torch.cat(losses).mean()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", EVERY)
def test_the_loss_and_its_gradients_are_those_of_full_logits_without_padding(
    tmp_path_factory: pytest.TempPathFactory, family: str, method: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "families"
    trainee = moved(begin(recipe(method), base_in(folder, family), "cpu"))
    trainee.model.eval()  # without dropout
    batch_loss(trainee.model, BATCH, PAD).backward()
    ours = {name: parameter.grad for name, parameter in trainee.learned.items()}

    expected = plain_loss(trainee, BATCH)
    torch.testing.assert_close(batch_loss(trainee.model, BATCH, PAD), expected, atol=1e-4, rtol=1e-4)
    theirs = torch.autograd.grad(expected, list(trainee.learned.values()))
    for (name, mine), gradient in zip(ours.items(), theirs, strict=True):
        torch.testing.assert_close(mine, gradient, atol=1e-3, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "prefix_tuning", "full"])
def test_logits_are_computed_only_where_an_answer_stands(base: BaseModelInfo, method: str) -> None:
    trainee = begin(recipe(method), base, "cpu")
    seen: list[int] = []
    head = answer_loss._causal(trainee.model).get_output_embeddings()
    head.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[:-1].numel()))
    batch_loss(trainee.model, BATCH, PAD)
    assert sum(seen) == sum(len(item.answer) for item in BATCH)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_loss_taken_in_pieces_is_the_same(base: BaseModelInfo, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for logits in (1 << 24, 2 * base.config.vocab_size):
        monkeypatch.setattr(answer_loss, "_LOGITS", logits)
        trainee = moved(begin(recipe(method), base, "cpu"))
        trainee.model.eval()
        loss = batch_loss(trainee.model, BATCH, PAD)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in trainee.learned.values())])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", EVERY)
def test_what_is_saved_names_no_folder_of_this_machine_and_is_accepted(
    base: BaseModelInfo, method: str, tmp_path: Path
) -> None:
    wanted = recipe(method)
    trainee = begin(wanted, base, "cpu")
    learn(trainee, steps(wanted), [], wanted, pad=PAD, watch=silent, rate=1e-3)
    trainee.save(tmp_path / "saved")
    written = [path for path in (tmp_path / "saved").iterdir() if path.suffix != ".safetensors"]
    assert not any(str(base.folder.parent) in path.read_text() for path in written)

    few = items(2)
    answered = check_saved(trainee, tmp_path / "saved", few, PAD, load_tokenizer(base.folder).eos_ids)
    assert [one.prompt for one in answered] == [item.prompt for item in few]
    assert all(1 <= len(one.answer) <= 8 for one in answered)
    (tmp_path / "staged").mkdir()
    manifest = Preparing(base).prepare(tmp_path / "saved", tmp_path / "staged")
    assert (manifest.kind, manifest.method) == KINDS[method]
    assert manifest.proof is not None and not manifest.proof.inert


def test_a_saved_adapter_that_is_not_what_was_trained_is_noticed(base: BaseModelInfo, tmp_path: Path) -> None:
    trainee = begin(recipe("lora"), base, "cpu")
    trainee.save(tmp_path)
    with pytest.raises(RefusedArtifact, match=r"the saved adapter has loss .* where the trained one has"):
        check_saved(moved(trainee), tmp_path, items(2), PAD, (PAD,))


def test_an_engine_that_answers_otherwise_is_noticed_but_where_two_tokens_are_as_good(base: BaseModelInfo) -> None:
    model = begin(recipe("lora"), base, "cpu").model
    prompt = items(1)[0].prompt
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    best, second, worst = (int(place) for place in logits.argsort(descending=True)[[0, 1, -1]])
    answered = [Answered(prompt, (best, 5))]
    check_served(answered, [(best, 5, 6)], lambda: model)
    for told in ((worst, 5), (), (second,)):
        with pytest.raises(RefusedArtifact, match="from token 1 on the engine answers otherwise"):
            check_served(answered, [told], lambda: model)
    with torch.no_grad():
        model.get_output_embeddings().weight[second] = model.get_output_embeddings().weight[best]
    check_served(answered, [(second, 7)], lambda: model)


def test_a_model_that_ends_its_answer_at_once_is_noticed(base: BaseModelInfo, tmp_path: Path) -> None:
    trainee = begin(recipe("lora"), base, "cpu")
    trainee.save(tmp_path)
    with pytest.raises(RefusedArtifact, match="ends its answer before it has begun"):
        check_saved(trainee, tmp_path, items(1), PAD, tuple(range(10_000)))


def test_a_head_apart_from_the_embeddings_is_trained_and_saved_apart(tmp_path: Path) -> None:
    untied = base_in(tmp_path, "llama-untied")
    for options, expected in (
        ({"head": True}, {"lm_head.weight"}),
        ({"embeddings": True}, {"model.embed_tokens.weight"}),
    ):
        trainee = begin(recipe("partial", partial={"patterns": ["model.norm.weight"], **options}), untied, "cpu")
        assert set(trainee.learned) == {"model.norm.weight", *expected}
        moved(trainee).save(tmp_path / "saved")
        check_saved(trainee, tmp_path / "saved", items(2), PAD, (PAD,))


def test_a_head_that_is_the_embeddings_is_trained_as_they_are(base: BaseModelInfo, tmp_path: Path) -> None:
    trainee = moved(begin(recipe("partial", partial={"layers": 1, "head": True}), base, "cpu"))
    assert "embeddings and head, which are one tensor, trained" in trainee.description
    trainee.save(tmp_path)
    check_saved(trainee, tmp_path, items(2), PAD, (PAD,))
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"]


def test_what_stays_frozen_is_the_layer_it_was_on_the_faster_kernel(base: BaseModelInfo) -> None:
    trainee = begin(recipe("partial", partial={"patterns": ["model.layers.3.*", "*.mlp.up_proj.weight"]}), base, "cpu")
    frozen = [name for name, module in trainee.model.named_modules() if isinstance(module, FrozenLinear)]
    assert len(frozen) == 3 * 6 + 1 and "lm_head" in frozen
    assert trainee.model.lm_head.weight is trainee.model.get_input_embeddings().weight  # still the one tensor


def test_the_numbers_that_learn_are_told(base: BaseModelInfo) -> None:
    whole = sum(math.prod(shape) for name, shape in base.shapes.items() if name != "lm_head.weight")
    full, soft = (begin(recipe(method), base, "cpu") for method in ("full", "prompt_tuning"))
    assert (full.trainable, full.total) == (whole, whole)
    assert (soft.trainable, soft.total) == (4 * 48, whole + 4 * 48)
    assert soft.description == "4 virtual tokens, starting from the first 4 of the 9 tokens of 'Be brief.'"
    lora = begin(recipe("lora", lora={"rank": 2, "layers": 1, "rank_pattern": {"3.mlp.up_proj": 8}}), base, "cpu")
    assert lora.description == "lora of rank 2, 8 on 7 of 28 linear layers"
    up = [parameter.shape for name, parameter in lora.learned.items() if "up_proj.lora_A" in name]
    assert up == [(8, 48)]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (recipe("qlora"), r'qlora needs a CUDA device.*; use method = "lora"'),
        (recipe("ia3", ia3={"target": ["k_prj"]}), "ia3.target 'k_prj' matches no linear layer.*k_proj"),
        (recipe("ia3", ia3={"target": ["k_proj"], "feedforward": ["up_proj"]}), "'up_proj' is not in ia3.target"),
        (recipe("dora", dora={"layers": 5}), "dora.layers is 5; this model has 4 layers"),
        (recipe("lora", lora={"rank_pattern": {"qproj": 4}}), "rank_pattern 'qproj' is the end of no layer.*q_proj"),
        (
            recipe("lora", lora={"target": ["q_proj"], "alpha_pattern": {"v_proj": 4}}),
            "alpha_pattern 'v_proj' is the end of no layer that is trained; there are q_proj;",
        ),
        (recipe("partial", partial={"layers": 5}), "partial.layers is 5; this model has 4 layers"),
        (
            recipe("partial", partial={"patterns": ["model.layer.*"]}),
            r"'model.layer.\*' matches no parameter of this model; there are model.layers.\*.input_layernorm.weight",
        ),
        (recipe("partial", partial={"patterns": ["lm_head.*"]}), "matches embeddings or head only.*partial.head"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(base: BaseModelInfo, wanted: Recipe, reason: str) -> None:
    with pytest.raises(RefusedArtifact, match=reason):
        begin(wanted, base, "cpu")
