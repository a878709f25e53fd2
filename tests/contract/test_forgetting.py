"""The general slice: the loss is transformers' own, answers in batches are those given alone, through every kind of
adapter as it is served. On tiny models; one token a byte."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from adapters.base_model import BaseModelInfo, describe
from adapters.forgetting import (
    ANSWER_TOKENS,
    General,
    Question,
    answered,
    answers,
    forgetting,
    general,
    general_loss,
    general_of_base,
    prose,
    questions,
)
from adapters.tokenizer import Tokenizer, load_tokenizer
from ragtune.errors import RefusedArtifact
from ragtune.prompt import Message, render
from ragtune.template import Template
from tests.equivalence.harness import ADAPTERS
from tests.tiny import save_tiny, tiny_model

PARAGRAPHS = ("Ice floats.", "Bees visit flowers to collect nectar.", "A map leaves out almost everything.")
QUERIES = ("1 + 1?", "2 + 2?", "What is ice?", "What is fog?", "Who?")
WRAPPED = (None, "patterned", "ia3", "soft", "encoded", "prefix")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    folder = tmp_path_factory.mktemp("base")
    return describe(save_tiny(folder / "tiny"), folder / "cache", "tiny")


@pytest.fixture(scope="module")
def tokenizer(base: BaseModelInfo) -> Tokenizer:
    return load_tokenizer(base.folder)


@pytest.fixture(params=WRAPPED, ids=str)
def model(request: pytest.FixtureRequest) -> Iterator[PeftModel | PreTrainedModel]:
    """A plain model, or one in training whose adapter was moved off its neutral start."""
    plain = tiny_model()
    if request.param is None:
        yield plain
        return
    wrapped = get_peft_model(plain, ADAPTERS[request.param])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    yield wrapped.train()


def reference_loss(model: PeftModel | PreTrainedModel, tokenizer: Tokenizer) -> float:
    """transformers' own loss, which PEFT shifts by the virtual tokens itself; the first token is left out."""
    model.eval()
    total, count = 0.0, 0
    for paragraph in PARAGRAPHS:
        ids = torch.tensor([tokenizer.encode_completion(paragraph)])
        labels = ids.clone()
        labels[0, 0] = -100
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels, use_cache=False).loss.item() * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count


def reference_answer(model: PeftModel | PreTrainedModel, tokenizer: Tokenizer, query: str) -> str:
    """Greedy, alone, everything computed anew for each token."""
    model.eval()
    ids = list(render([Message(role="user", content=query)], [], Template(), tokenizer).token_ids)
    said: list[int] = []
    while len(said) < ANSWER_TOKENS and not set(said) & set(tokenizer.eos_ids):
        with torch.no_grad():
            said.append(int(model(input_ids=torch.tensor([ids + said]), use_cache=False).logits[0, -1].argmax()))
    return tokenizer.decode(said)


def test_the_general_loss_is_that_of_transformers_on_the_same_tokens(
    model: PeftModel | PreTrainedModel, tokenizer: Tokenizer
) -> None:
    was_training = model.training
    ours = general_loss(model, tokenizer, PARAGRAPHS)
    assert model.training == was_training
    assert ours == pytest.approx(reference_loss(model, tokenizer), abs=1e-5)


def test_answers_in_batches_with_a_cache_are_those_given_alone_without(
    model: PeftModel | PreTrainedModel, tokenizer: Tokenizer
) -> None:
    was_training = model.training
    said = answers(model, tokenizer, QUERIES)
    assert model.training == was_training
    assert said == {query: reference_answer(model, tokenizer, query) for query in QUERIES}
    assert len(set(said.values())) > 1  # else nothing was mixed up that could have been


def test_those_questions_count_whose_answer_holds_an_accepted_one(tokenizer: Tokenizer) -> None:
    model = tiny_model()
    said = answers(model, tokenizer, QUERIES)
    right = [query for query in QUERIES if any(sign.isalnum() for sign in said[query])][:2]
    asked = [Question(query=q, answers=(said[q].upper(),) if q in right else ("no such words",)) for q in QUERIES]
    assert right
    assert answered(model, tokenizer, asked) == frozenset(right)


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("The capital of France is Paris.", "paris", True),
        ("There are 24 hours.", "4", False),
        ("It is H₂O.", "H₂O", True),
        ("South-America!", "south america", True),
        ("A southern American", "south america", False),
        ("", "ice", False),
    ],
)
def test_an_accepted_answer_has_to_stand_in_whole_words(answer: str, accepted: str, right: bool) -> None:
    assert Question(query="?", answers=("nothing", accepted)).accepts(answer) is right


def test_the_slice_that_ships_is_whole() -> None:
    assert len(prose()) == 20 and len(questions()) == 40
    assert len({question.query for question in questions()}) == 40
    for question in questions():
        assert all(question.accepts(f"It is {answer}.") for answer in question.answers)


def test_the_base_models_figures_are_measured_once_and_anew_for_other_weights(
    tmp_path: Path, base: BaseModelInfo, tokenizer: Tokenizer
) -> None:
    loads: list[int] = []

    def load() -> PreTrainedModel:
        loads.append(1)
        return tiny_model()

    first = general_of_base(base, tokenizer, tmp_path, load)
    assert general_of_base(base, tokenizer, tmp_path, load) == first == general(tiny_model(), tokenizer)
    assert len(loads) == 1
    general_of_base(replace(base, fingerprint="f" * 64), tokenizer, tmp_path, load)
    assert len(loads) == 2
    kept = sorted((tmp_path / "general").iterdir())
    assert len(kept) == 2 and not any(path.name.startswith(".") for path in kept)
    for path in kept:
        path.write_text(path.read_text()[:40])  # torn
    assert general_of_base(base, tokenizer, tmp_path, load) == first
    assert len(loads) == 3


def test_questions_that_only_the_trained_model_answers_make_up_for_none() -> None:
    before, after = General(loss=3.0, answered=frozenset("abc")), General(loss=3.5, answered=frozenset("bcde"))
    found = forgetting(before, after)
    assert (found.base_loss, found.loss, found.answered_by_base, found.still_answered) == (3.0, 3.5, 3, 2)


def test_a_model_that_the_training_broke_is_refused(tokenizer: Tokenizer) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(RefusedArtifact, match=r"loss on general text is nan.*lower learning_rate"):
        general_loss(model, tokenizer, PARAGRAPHS)
