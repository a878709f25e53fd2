"""QLoRA (Dettmers et al. 2023): the frozen base in four bits, nf4 with double quantisation, computing in bf16.

What is learned is an ordinary LoRA. It is served on the base model in full precision, from which the quantised one
differs, so its answers are close to those in training and not the same.
"""

from importlib.util import find_spec

import torch
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging

from adapters.base_model import BaseModelInfo
from adapters.techniques.loading import on_cuda
from ragtune.errors import RefusedArtifact


def load_quantised(base: BaseModelInfo, device: str) -> PreTrainedModel:
    """The base model, frozen, in four bits. Raises RefusedArtifact without CUDA or bitsandbytes."""
    missing = [
        what
        for what, there in (
            ("a CUDA device", on_cuda(device) and torch.cuda.is_available()),
            ("the library bitsandbytes", find_spec("bitsandbytes") is not None),
        )
        if not there
    ]
    if missing:
        raise RefusedArtifact(
            f'qlora needs {" and ".join(missing)}, which this machine does not have; use method = "lora"'
        )
    logging.disable_progress_bar()
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base.folder,
        quantization_config=four_bits,
        dtype=torch.bfloat16,
        device_map={"": torch.cuda.current_device()},
        local_files_only=True,
    )
    prepared: PreTrainedModel = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return prepared.eval()
