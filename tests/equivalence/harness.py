"""References for the equivalence proofs, and an engine that records the logits it sampled from.

"The same" means: fp32, reference run eagerly by transformers and PEFT, batch of one, unpadded, logits within 1e-4. GEMM
shapes change the last bits, so a greedy token may differ only where the reference's two best logits lie closer than
1e-3; such flips are counted and printed.

A trained model of 30 layers has logits of up to 30, and there the reference is itself 4e-5 to 1e-4 from what float64
gives. Where `exact` references are given, a request may differ by 1e-4 beyond that distance; how many stay within 1e-4
without it is printed (docs/results.md has the figures).
"""

import random
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TaskType,
    VeraConfig,
    get_peft_model,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from adapters.preparing import Preparing
from ragtune.wire import Sampling
from service.catalog import staged_reference
from service.engine.engine import Engine
from service.engine.kv_blocks import KVBlocks
from service.engine.messages import (
    AdapterRef,
    Began,
    Failed,
    Generation,
    LoadDone,
    Logprobs,
    Progress,
    TokenEvent,
    UnloadDone,
)
from service.engine.runner import BLOCK, Runner
from service.engine.scheduler import Batch, Scheduler
from tests.tiny import VOCAB

TOLERANCE = 1e-4
MARGIN = 1e-3
PREFIXES = ("soft_prompt", "prefix")

LORA = TaskType.CAUSAL_LM
ADAPTERS: dict[str, PeftConfig] = {
    "plain": LoraConfig(task_type=LORA, r=4, lora_alpha=8, target_modules="all-linear"),
    "patterned": LoraConfig(
        task_type=LORA,
        r=8,
        lora_alpha=4,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"v_proj": 3, "layers.1.self_attn.q_proj": 5},
        alpha_pattern={"up_proj": 32, "^model.layers.2.self_attn.q_proj": 1},
    ),
    "narrow": LoraConfig(task_type=LORA, r=2, lora_alpha=6, target_modules=["o_proj", "down_proj"]),
    "dressed": LoraConfig(
        task_type=LORA,
        r=4,
        target_modules=["q_proj", "down_proj", "embed_tokens"],
        bias="all",
        modules_to_save=["lm_head", "norm"],
    ),
    "biased": LoraConfig(task_type=LORA, r=4, target_modules=["k_proj", "o_proj"], bias="lora_only", lora_bias=True),
    "dora": LoraConfig(task_type=LORA, r=4, target_modules="all-linear", use_dora=True),
    "dora-biased": LoraConfig(task_type=LORA, r=4, target_modules=["q_proj", "v_proj"], use_dora=True, bias="all"),
    "ia3": IA3Config(
        task_type=LORA, target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "loha": LoHaConfig(task_type=LORA, r=4, target_modules=["q_proj", "up_proj"]),
    "lokr": LoKrConfig(task_type=LORA, r=4, target_modules=["v_proj", "down_proj"], modules_to_save=["lm_head"]),
    "oft": OFTConfig(task_type=LORA, oft_block_size=4, target_modules=["q_proj", "k_proj", "v_proj"]),
    "adalora": AdaLoraConfig(task_type=LORA, init_r=6, total_step=10, target_modules=["o_proj", "gate_proj"]),
    "vera": VeraConfig(task_type=LORA, r=4, target_modules=["q_proj", "v_proj"], d_initial=1.0),
    "soft": PromptTuningConfig(task_type=LORA, num_virtual_tokens=20),
    "encoded": PromptEncoderConfig(task_type=LORA, num_virtual_tokens=5, encoder_hidden_size=16),
    "prefix": PrefixTuningConfig(task_type=LORA, num_virtual_tokens=7),
}
MODES = (
    "base",
    "plain",
    "patterned",
    "narrow",
    "soft",
    "encoded",
    "prefix",
    "plain+soft",
    "patterned+prefix",
    "narrow+encoded",
    "dressed",
    "dora",
    "partial",
    "full+soft",
)
KINDS = ("biased", "dora-biased", "ia3", "loha", "lokr", "oft", "adalora", "vera", "full")
CHECKPOINTS = ("partial", "full")


def make_adapter(
    model: PreTrainedModel, name: str, folder: Path, scale: float = 0.1, text: list[int] | None = None
) -> Path:
    """Train nothing, but give every weight of a PEFT adapter a random value, and let PEFT save it.

    With `text`, a soft prompt or prefix begins as that of its tokens, as a training would.
    """
    config = ADAPTERS[name]
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, scale, generator=generator)
        if text is not None and name in ("soft", "prefix"):
            weight = wrapped.prompt_encoder["default"].embedding.weight
            weight += _learned_as(model, name, text[: weight.shape[0]]).reshape_as(weight)
    wrapped.save_pretrained(folder)
    return folder


def make_ref(model: PreTrainedModel, name: str, folder: Path) -> AdapterRef:
    """Such a LoRA, soft prompt or prefix as the engine takes it, unregistered."""
    kind = {"soft": "soft_prompt", "encoded": "soft_prompt", "prefix": "prefix"}.get(name, "lora")
    virtual = getattr(ADAPTERS[name], "num_virtual_tokens", 0)
    return AdapterRef(f"{name}@1", make_adapter(model, name, folder), kind, virtual)  # type: ignore[arg-type]


def make_checkpoint(model: PreTrainedModel, name: str, folder: Path, scale: float = 0.1) -> Path:
    """A fine-tune of `model`, saved whole: "partial" changed the top quarter of the layers, "full" everything."""
    generator = torch.Generator().manual_seed(len(name))
    layers = model.config.num_hidden_layers
    top = tuple(f"model.layers.{layer}." for layer in range(layers - layers // 4, layers))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if name == "full" or parameter_name.startswith(top):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * parameter.std(), alpha=scale)
    model.save_pretrained(folder)
    return folder


def register(preparing: Preparing, name: str, source: Path, folder: Path) -> AdapterRef:
    """What the registry makes of an adapter's folder, for the engine."""
    folder.mkdir(parents=True)
    return staged_reference(name, folder, preparing.prepare(source.resolve(), folder))


def _learned_as(model: PreTrainedModel, name: str, tokens: list[int]) -> Tensor:
    """The embeddings of these tokens, or their keys and values as PEFT lays out a prefix."""
    ids = torch.tensor([tokens])
    if name == "soft":
        return model.get_input_embeddings()(ids)  # type: ignore[operator]
    layers = model.get_decoder()(input_ids=ids, use_cache=True).past_key_values.layers
    pairs = torch.stack([torch.cat([layer.keys, layer.values]) for layer in layers])  # (layers, 2, heads, p, dim)
    return pairs.permute(3, 0, 1, 2, 4)


class Reference:
    """transformers and PEFT, one request at a time. `fresh` makes a new copy of the base model, as PEFT changes it.

    `exact` is the same in float64, where the reference's own rounding matters.
    """

    def __init__(
        self,
        fresh: object,
        refs: Mapping[str, AdapterRef],
        sources: Mapping[str, Path],
        exact: "Reference | None" = None,
    ) -> None:
        self._fresh = fresh
        self._refs = refs
        self._sources = sources
        self._exact = exact
        self._wrapped: dict[str, torch.nn.Module] = {}

    def logits(self, mode: str, tokens: list[int]) -> Tensor:
        """(len(tokens), vocabulary) logits of `tokens` under `mode`."""
        parts = [] if mode == "base" else mode.split("+")
        weights = next((p for p in parts if self._refs[p].kind not in PREFIXES), None)
        prefix = next((p for p in parts if self._refs[p].kind in PREFIXES), None)
        ids = torch.tensor([tokens])
        with torch.no_grad():
            if prefix is None:
                return self._model(weights)(input_ids=ids).logits[0]
            if weights is None:
                return self._model(prefix)(input_ids=ids).logits[0, -len(tokens) :]
            return self._both(weights, prefix, ids)[0, -len(tokens) :]

    def rounding(self, mode: str, tokens: list[int], logits: Tensor) -> float:
        """How far these logits are from the exact ones; 0 where nobody is asked."""
        if self._exact is None:
            return 0.0
        return (self._exact.logits(mode, tokens) - logits).abs().max().item()

    def _both(self, weights: str, prefix: str, ids: Tensor) -> Tensor:
        """PEFT cannot put a soft prompt or prefix on top of a LoRA, so here it is written out plainly."""
        lora, learned = self._model(weights), self._model(prefix)
        assert isinstance(learned, PeftModel)
        if self._refs[prefix].kind == "soft_prompt":
            virtual = learned.get_prompt(batch_size=1)
            embedded = lora.get_input_embeddings()(ids)  # type: ignore[operator]
            return lora(inputs_embeds=torch.cat([virtual, embedded], dim=1)).logits
        cache = learned.get_prompt(batch_size=1)
        pairs = [(layer.keys, layer.values) for layer in cache.layers]
        return lora(input_ids=ids, past_key_values=DynamicCache(pairs)).logits

    def _model(self, name: str | None) -> torch.nn.Module:
        key = name or "base"
        if key not in self._wrapped:
            model = self._fresh()  # type: ignore[operator]
            if name in CHECKPOINTS:
                model = AutoModelForCausalLM.from_pretrained(
                    self._sources[name], dtype=model.dtype, attn_implementation="eager"
                )
            elif name is not None:
                model = PeftModel.from_pretrained(model, str(self._sources[name]))
            self._wrapped[key] = model.eval()
        return self._wrapped[key]


@dataclass
class Outcome:
    """What the engine made of one request: its new tokens and the logits each was chosen from."""

    events: list[TokenEvent] = field(default_factory=list)
    scores: tuple[Logprobs, ...] = ()
    cached: int = 0  # tokens of the prompt
    logits: list[Tensor] = field(default_factory=list)
    failed: Failed | None = None

    @property
    def tokens(self) -> list[int]:
        """The ids of the new tokens."""
        return [event.token_id for event in self.events]


class RecordingRunner(Runner):
    """The real runner, keeping the logits each sequence was sampled from."""

    def __init__(self, model: PreTrainedModel, kv_blocks: int, device: torch.device) -> None:
        super().__init__(model, kv_blocks, device)
        self.record: dict[str, list[Tensor]] = {}

    def logits(self, batch: Batch) -> Tensor:
        """The real logits, noted down."""
        logits = super().logits(batch)
        sampling = [piece.sequence.id for piece in batch.slices if piece.samples]
        for request_id, row in zip(sampling, logits, strict=False):
            self.record.setdefault(request_id, []).append(row.float().cpu().clone())
        return logits


class Rig:
    """An engine in this process, driven by hand. `text` is where prompts are cut from; without it they are noise."""

    def __init__(
        self,
        model: PreTrainedModel,
        refs: Mapping[str, AdapterRef],
        *,
        step_tokens: int = 512,
        cache: bool = True,
        device: str = "cpu",
        text: list[int] | None = None,
    ) -> None:
        self.refs = refs
        self.text = text
        self.runner = RecordingRunner(model.to(device), 256, torch.device(device))
        self.outcomes: dict[str, Outcome] = {}
        self.finished: dict[str, object] = {}
        self.refused: dict[str, str] = {}
        self.engine = self.restart(step_tokens=step_tokens, cache=cache)

    def restart(self, *, step_tokens: int = 512, cache: bool = True) -> Engine:
        """A new scheduler with an empty cache over the same model, and no adapter in memory."""
        for key in list(self.runner.loaded):
            self.runner.remove(key)
        scheduler = Scheduler(KVBlocks(256, BLOCK), step_tokens, 64, cache)
        self.engine = Engine(scheduler, self.runner, ThreadPoolExecutor(1), time.monotonic, 1024)
        self.outcomes, self.refused, self.runner.record = {}, {}, {}
        return self.engine

    def prompts(self, count: int, seed: int, shortest: int = 1, longest: int = 70) -> list[list[int]]:
        """Prompts of random length: cut from the text, or random tokens."""
        chance = random.Random(seed)
        lengths = (chance.randint(shortest, longest) for _ in range(count))
        if self.text is None:
            return [[chance.randrange(3, VOCAB) for _ in range(length)] for length in lengths]
        starts = (chance.randrange(len(self.text) - longest) for _ in range(count))
        return [self.text[start : start + length] for start, length in zip(starts, lengths, strict=True)]

    def admit(
        self,
        request_id: str,
        mode: str,
        prompt: Iterable[int],
        new: int = 8,
        sampling: Sampling | None = None,
        **options: object,
    ) -> None:
        """Queue a request: greedy for `new` tokens ignoring the end of sequence, unless `sampling` says how."""
        parts = [] if mode == "base" else [self.refs[part] for part in mode.split("+")]
        sampling = sampling or Sampling(max_tokens=new, ignore_eos=True)
        generation = Generation(
            request_id,
            tuple(prompt),
            sampling,
            weights=next((ref for ref in parts if ref.kind not in PREFIXES), None),
            prefix=next((ref for ref in parts if ref.kind in PREFIXES), None),
            **options,  # type: ignore[arg-type]
        )
        self.outcomes[request_id] = Outcome()
        self.take(self.engine.admit(generation))

    def step(self) -> None:
        """One step of the engine."""
        self.take(self.engine.step())

    def run(self, *, tolerant: bool = False) -> dict[str, Outcome]:
        """Step until nothing is left to do. Unless `tolerant`, every adapter must have loaded."""
        deadline = time.monotonic() + 120
        while self.engine.busy:
            self.step()
            assert time.monotonic() < deadline, "the engine does not come to an end"
        assert tolerant or not self.refused, self.refused
        for request_id, outcome in self.outcomes.items():
            outcome.logits = self.runner.record.get(request_id, [])
        return self.outcomes

    def take(self, events: list[object]) -> None:  # type: ignore[type-arg]
        """Sort the engine's events into outcomes."""
        for event in events:
            match event:
                case Progress(request_id, tokens):
                    self.outcomes[request_id].events += tokens
                case Began(request_id, beginning):
                    self.outcomes[request_id].scores = beginning.scores
                    self.outcomes[request_id].cached = beginning.cached_tokens
                case Failed():
                    self.outcomes[event.request_id].failed = event
                case LoadDone(key, error):
                    self.refused |= {key: error} if error is not None else {}
                case UnloadDone():
                    pass
                case _:
                    self.finished[event.request_id] = event.finish  # type: ignore[attr-defined]


Setup = tuple[Rig, Reference]


@dataclass
class Comparison:
    """How far the engine was from the reference, over many requests."""

    worst: float = 0.0
    steps: int = 0
    requests: int = 0
    within: int = 0  # requests whose logits are all within TOLERANCE
    rounding: float = 0.0  # the reference's own, at its worst
    flips: list[float] = field(default_factory=list)  # the reference's margin at each differing greedy token

    def add(self, reference: Reference, mode: str, prompt: list[int], outcome: Outcome) -> None:
        """Compare one request, teacher-forced along the engine's own tokens."""
        assert outcome.failed is None, outcome.failed
        assert len(outcome.tokens) == len(outcome.logits) > 0
        whole = reference.logits(mode, prompt + outcome.tokens)
        expected = whole[len(prompt) - 1 : -1]
        difference = (torch.stack(outcome.logits) - expected).abs().max().item()
        own = reference.rounding(mode, prompt + outcome.tokens, whole) if difference > TOLERANCE else 0.0
        assert difference <= TOLERANCE + own, (
            f"{mode}: logits differ by {difference:.2e}, the reference's own by {own:.2e}"
        )
        self.requests += 1
        self.within += difference <= TOLERANCE
        self.rounding = max(self.rounding, own)
        best = expected.topk(2, dim=-1).values
        for chosen, row, (first, second) in zip(outcome.tokens, expected, best.tolist(), strict=True):
            if chosen != int(row.argmax()):
                self.flips.append(first - second)
        assert all(margin < MARGIN for margin in self.flips), self.flips
        self.worst = max(self.worst, difference)
        self.steps += len(outcome.tokens)

    def report(self, what: str) -> None:
        """One line for the person reading the test's output."""
        within = f"{self.within} of {self.requests} requests within {TOLERANCE:g}"
        beyond = f" (reference against float64: {self.rounding:.1e})" if self.rounding else ""
        print(f"{what}: {self.steps} tokens, logits within {self.worst:.1e}{beyond}, {within}, flips {self.flips}")
