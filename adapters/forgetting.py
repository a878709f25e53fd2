"""Forgetting: what a training did to what the base model could, on a general slice that never changes.

The slice is ours and ships with the package: prose, whose loss says whether the model still writes as it did, and easy
questions, of which those count that the base model answers. Both go through the adapter as it would be served: a soft
prompt stands before them, and questions are rendered as the service renders them without a template.

The base model's figures depend on nothing but the base model, so they are kept in the cache folder.
"""

import hashlib
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import torch
from peft import PeftModel
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.manifest import Forgetting
from adapters.tokenizer import Tokenizer
from ragtune.errors import RefusedArtifact
from ragtune.prompt import Message, render, rendering_hash
from ragtune.template import Template

Model: TypeAlias = PeftModel | PreTrainedModel

ANSWER_TOKENS = 16  # enough for a small model that says "The capital of France is Paris."
_SLICE = files("adapters") / "general"
_WORD = re.compile(r"\w+")


class Question(BaseModel):
    """A general question; an answer that holds one of `answers` as whole words is right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    answers: tuple[str, ...]

    def accepts(self, answer: str) -> bool:
        """Whether `answer` holds an accepted one, whatever its case and punctuation."""
        said = _words(answer)
        return any(_words(accepted) in said for accepted in self.answers)


class General(BaseModel):
    """A model on the general slice: loss on the prose in nats a token, and the questions it answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: FiniteFloat
    answered: frozenset[str]


class _Remembered(BaseModel):
    """The base model's figures and all that they were made from."""

    made_from: str
    general: General


@cache
def prose() -> tuple[str, ...]:
    """The paragraphs of the general text."""
    return tuple((_SLICE / "prose.txt").read_text(encoding="utf-8").strip().split("\n\n"))


@cache
def questions() -> tuple[Question, ...]:
    """The general questions."""
    lines = (_SLICE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(map(Question.model_validate_json, lines))


def general(model: Model, tokenizer: Tokenizer) -> General:
    """`model` on the whole slice. Raises RefusedArtifact if its loss is no number."""
    return General(loss=general_loss(model, tokenizer, prose()), answered=answered(model, tokenizer, questions()))


def general_of_base(
    base: BaseModelInfo, tokenizer: Tokenizer, cache_folder: Path, load: Callable[[], PreTrainedModel]
) -> General:
    """The base model on the whole slice, remembered in `cache_folder`; `load` is called only if it is not yet."""
    place = cache_folder / "general" / f"{base.fingerprint[:32]}.json"
    made_from = _made_from(base, tokenizer)
    remembered = _read(place)
    if remembered is not None and remembered.made_from == made_from:
        return remembered.general
    found = general(load(), tokenizer)
    _write(place, _Remembered(made_from=made_from, general=found))
    return found


def forgetting(base: General, trained: General) -> Forgetting:
    """What the trained model lost; questions that only it answers make up for nothing."""
    return Forgetting(
        base_loss=base.loss,
        loss=trained.loss,
        answered_by_base=len(base.answered),
        still_answered=len(base.answered & trained.answered),
    )


def general_loss(model: Model, tokenizer: Tokenizer, paragraphs: Sequence[str]) -> float:
    """Mean cross entropy in nats a token over all tokens of `paragraphs` but the first of each.

    Every paragraph alone and unpadded, as raw text; virtual tokens stand before it and are not predicted themselves.
    Raises RefusedArtifact if it is no number.
    """
    total = tokens = 0.0
    with _evaluating(model):
        for paragraph in paragraphs:
            ids = torch.tensor([tokenizer.encode_completion(paragraph)], device=_device(model))
            logits = model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] : -1]  # behind the virtual tokens
            total += F.cross_entropy(logits.float(), ids[0, 1:], reduction="sum").item()
            tokens += ids.shape[1] - 1
    loss = total / tokens
    if not abs(loss) < float("inf"):
        raise RefusedArtifact(f"the loss on general text is {loss}: the training broke the model; lower learning_rate")
    return loss


def answered(model: Model, tokenizer: Tokenizer, asked: Sequence[Question]) -> frozenset[str]:
    """Those of `asked` that the model answers."""
    said = answers(model, tokenizer, [question.query for question in asked])
    return frozenset(question.query for question in asked if question.accepts(said[question.query]))


def answers(model: Model, tokenizer: Tokenizer, queries: Sequence[str]) -> dict[str, str]:
    """The model's answer to each query: greedy, at most ANSWER_TOKENS tokens, rendered as the service would."""
    prompts = [(_prompt(query, tokenizer), query) for query in queries]
    said: dict[str, str] = {}
    with _evaluating(model):
        # Prompts of one length are one batch: nothing is padded, which PEFT's soft prompts do not bear.
        for _, group in groupby(sorted(prompts, key=_length), key=_length):
            alike = list(group)
            texts = _generate(model, tokenizer, [prompt for prompt, _ in alike])
            said |= {query: text for (_, query), text in zip(alike, texts, strict=True)}
    return said


def _length(prompt: tuple[tuple[int, ...], str]) -> int:
    return len(prompt[0])


def _prompt(query: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return render([Message(role="user", content=query)], [], Template(), tokenizer).token_ids


def _generate(model: Model, tokenizer: Tokenizer, prompts: Sequence[tuple[int, ...]]) -> list[str]:
    """The greedy continuation of each of several prompts of one length."""
    ids = torch.tensor(prompts, device=_device(model))
    greedy = GenerationConfig(
        do_sample=False,
        use_cache=True,
        repetition_penalty=1.0,  # some models bring another; the service knows none unless it is asked for
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=list(tokenizer.eos_ids),
        pad_token_id=tokenizer.eos_ids[0],
    )
    with warnings.catch_warnings():  # PEFT drops position ids for soft prompts; without padding they say nothing new
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        rows = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
    return [tokenizer.decode(row[ids.shape[1] :].tolist()) for row in rows]


def _device(model: Model) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Without dropout and gradients; what was training trains on afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _words(text: str) -> str:
    """Words in lower case, each between blanks, so that `in` finds whole ones only."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _made_from(base: BaseModelInfo, tokenizer: Tokenizer) -> str:
    slice_ = repr((prose(), questions(), ANSWER_TOKENS))
    parts = f"{base.fingerprint}\0{rendering_hash(Template(), tokenizer)}\0{slice_}"
    return hashlib.sha256(parts.encode()).hexdigest()


def _read(place: Path) -> _Remembered | None:
    try:
        return _Remembered.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None  # not made yet, or of an older form: measuring again is always right


def _write(place: Path, remembered: _Remembered) -> None:
    """Beside and renamed: several trainings may start at once."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}.{uuid.uuid4().hex}")
    try:
        beside.write_text(remembered.model_dump_json(), encoding="utf-8")
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
