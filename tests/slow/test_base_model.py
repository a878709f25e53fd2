"""The embedded base model, converted for real."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapters.base_model import locate_base_model
from adapters.tokenizer import load_tokenizer
from ragtune.prompt import Message, render
from ragtune.settings import Settings
from ragtune.template import Template

pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
def test_the_embedded_model_is_converted_once_and_ends_its_turns(tmp_path: Path) -> None:
    heard: list[str] = []
    settings = Settings(cache=tmp_path / "cache")
    base = locate_base_model(settings, progress=heard.append)
    assert (base.id, base.architecture) == ("smollm2-135m-instruct", "LlamaForCausalLM")
    assert base.note == "dequantised from Q4_1 to fp32"
    assert len(heard) == 1 and "converting" in heard[0]
    assert locate_base_model(settings, progress=heard.append).fingerprint == base.fingerprint
    assert len(heard) == 1

    tokenizer = load_tokenizer(base.folder)
    assert tokenizer.eos_ids == (2,)
    assert tokenizer.encode("<|im_end|>")[0] == [2]
    assert (base.config.eos_token_id, base.config.pad_token_id) == (2, 2)

    prompt = render([Message(role="user", content="What is the capital of France?")], [], Template(), tokenizer)
    assert "named SmolLM" in prompt.text
    model = AutoModelForCausalLM.from_pretrained(base.folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    output = model.generate(torch.tensor([prompt.token_ids]), max_new_tokens=24, do_sample=False)[0].tolist()
    assert output[-1] == 2
    assert "Paris" in tokenizer.decode(output[len(prompt.token_ids) :])
