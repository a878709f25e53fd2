"""Tiny random models of every supported family, and a byte-level tokenizer with a ChatML template.

Weights are random but seeded, fp32, and scaled up enough that logits differ clearly between tokens and positions. The
tokenizer is one token a byte, so token counts in tests can be computed by eye.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCAB = 320
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SHARED: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "tie_word_embeddings": True,
}
_CALM = 0.5  # of all logits; which is the largest stays
_SLIDING = ["sliding_attention", "full_attention"] * 2
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama-untied": {"model_type": "llama", "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "gemma": {"model_type": "gemma"},
    "gemma2": {
        "model_type": "gemma2",
        "sliding_window": 16,
        "layer_types": _SLIDING,
        "query_pre_attn_scalar": 12,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 10.0,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": 16,
        "layer_types": _SLIDING,
        "query_pre_attn_scalar": 12,
    },
}


def tiny_config(family: str) -> PreTrainedConfig:
    """The configuration of a tiny model of this family."""
    options = {**_SHARED, **FAMILIES[family]}
    return AutoConfig.for_model(options.pop("model_type"), **options)


def tiny_model(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A seeded random model in fp32, eager attention, evaluation mode."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" in name:  # Gemma multiplies its embeddings by sqrt(hidden); without this it only echoes them
                parameter.normal_(0.0, 0.1 if family.startswith("gemma") else 0.3, generator=generator)
            elif parameter.dim() > 1:
                parameter.normal_(0.0, 1.5 / parameter.shape[-1] ** 0.5, generator=generator)
            else:  # norms and biases: moved off their neutral start, so that forgetting one shows
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        if not family.startswith("gemma"):  # sure of itself, but on text it knows nothing of no worse than guessing
            model.get_decoder().norm.weight.mul_(_CALM)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte: the control tokens have ids 0 to 2, byte b follows in the order of the byte-level alphabet."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[2]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """In the manner of Llama 2 and Gemma: a space is part of the word after it, other characters fall back to bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *'▁abcdefgh{}":,0123456789', "▁a"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocabulary, merges=[("▁", "a")], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in pieces[:3]])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def save_tiny(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """A folder that `from_pretrained` reads: weights, configuration, tokenizer with chat template."""
    tiny_model(family, seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
