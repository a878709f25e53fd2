"""The base model's tokenizer as rendering and detokenising need it.

Control tokens are the vocabulary's special tokens. Chat text is encoded as it stands, because the chat template has
written the control tokens it wants; the raw text of a completion never becomes a control token.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateError
from llguidance import LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from ragtune.errors import IncompatibleParts, RefusedArtifact
from ragtune.prompt import Message

_MARK = "answer"


class Tokenizer:
    """Implements `ragtune.prompt.ChatTokenizer`. Not thread-safe: one object per thread.

    `eos_ids` are the ids that end an answer: what the generation settings and the vocabulary name as end of sequence,
    and the token by which the chat template ends a turn.
    """

    def __init__(self, fast: PreTrainedTokenizerFast, eos_ids: Sequence[int] = ()) -> None:
        self._fast = fast
        special = {token.content: i for i, token in fast.added_tokens_decoder.items() if token.special}
        self._control_ids = frozenset(special.values())
        self._control_tokens = frozenset(special)
        self._opening = _opening(fast)
        self._bytes: dict[int, bytes] = {}
        self.eos_ids = tuple(sorted({*eos_ids, *self._own_ends()}))
        self._end = min(self._end_of_turn() if self.chat_template else self.eos_ids, default=0)

    @property
    def control_tokens(self) -> frozenset[str]:
        """The texts of the control tokens."""
        return self._control_tokens

    @property
    def chat_template(self) -> str:
        """The source of the chat template; empty if the model has none."""
        template = self._fast.chat_template
        if isinstance(template, dict):  # several named ones
            template = template.get("default")
        return template or ""

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, added ones included."""
        return len(self._fast)

    def chat_text(self, messages: Sequence[Message]) -> str:
        """The chat template applied, with the opening of the assistant's turn.

        Raises IncompatibleParts if the model has no chat template, or it refuses these messages.
        """
        if not self.chat_template:
            raise IncompatibleParts("this base model has no chat template; use /v1/completions")
        return self._apply(messages, opening=True)

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and the character span of each; control-token text becomes control tokens, none are added."""
        encoded = self._fast(
            text, add_special_tokens=False, split_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return encoded["input_ids"], [(start, end) for start, end in encoded["offset_mapping"]]

    def encode_completion(self, text: str) -> list[int]:
        """Token ids of raw text to be continued: begins as the model expects, holds no control tokens of its own."""
        encoded = self._fast(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids: list[int] = encoded["input_ids"]
        return [*self._opening, *ids]

    def without_opening(self, ids: Sequence[int]) -> tuple[int, ...]:
        """`ids` without the opening that `encode_completion` puts first: for text that something else stands before."""
        opened = bool(self._opening) and list(ids[: len(self._opening)]) == self._opening
        return tuple(ids[len(self._opening) :] if opened else ids)

    def encode_answer(self, text: str) -> list[int]:
        """Token ids of an assistant's words and the token that ends its turn; no control tokens of its own."""
        encoded = self._fast(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids: list[int] = encoded["input_ids"]
        return [*ids, self._end]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without control tokens."""
        return str(self._fast.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def decode_all(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens included."""
        return str(self._fast.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def names(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary spells them; empty for ids it does not have."""
        return [name or "" for name in self._fast.convert_ids_to_tokens(list(ids))]

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest token: no text of n tokens has more than n times as many characters."""
        return max(len(self.token_bytes(token_id)) for token_id in range(self.vocab_size))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for, which may be part of a character; a control token's are its name."""
        if token_id not in self._bytes:
            known = token_id < self.vocab_size
            self._bytes[token_id] = bytes(self.vocabulary.decode_bytes([token_id])) if known else b""
        return self._bytes[token_id]

    @cached_property
    def vocabulary(self) -> LLTokenizer:
        """The vocabulary as bytes, as grammars need it; takes about half a second to make."""
        return from_tokenizer(self._fast, eos_token=list(self.eos_ids) or None)

    def is_control(self, token_id: int) -> bool:
        """Whether this id is a control token."""
        return token_id in self._control_ids

    def _apply(self, messages: Sequence[Message], *, opening: bool) -> str:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self._fast.apply_chat_template(chat, tokenize=False, add_generation_prompt=opening))
        except TemplateError as error:
            raise IncompatibleParts(f"the base model's chat template refuses these messages: {error}") from error

    def _own_ends(self) -> set[int]:
        ends = set() if self._fast.eos_token_id is None else {int(self._fast.eos_token_id)}
        if self.chat_template:
            ends |= self._end_of_turn()
        return ends

    def _end_of_turn(self) -> set[int]:
        """The first control token that the chat template writes after an assistant's words."""
        chat = [Message(role="user", content="question"), Message(role="assistant", content=_MARK)]
        text = self._apply(chat, opening=False)
        ids, spans = self.encode(text)
        after = text.rindex(_MARK) + len(_MARK)
        controls = [i for i, (start, _) in zip(ids, spans, strict=True) if start >= after and self.is_control(i)]
        return set(controls[:1])


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder. Raises RefusedArtifact if there is none, or only a slow Python one."""
    try:
        fast = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise RefusedArtifact(f"the tokenizer in {folder} cannot be read: {error}") from error
    if not getattr(fast, "is_fast", False):
        raise RefusedArtifact(f"the tokenizer in {folder} has no tokenizer.json; convert it to a fast tokenizer first")
    return Tokenizer(fast, _configured_ends(folder))


def _configured_ends(folder: Path) -> list[int]:
    if not (folder / "generation_config.json").is_file():
        return []
    ends = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _opening(fast: PreTrainedTokenizerFast) -> list[int]:
    """The beginning-of-sequence token, if this tokenizer puts one before raw text."""
    added: list[int] = fast("")["input_ids"]
    return added[:1] if added and added[0] == fast.bos_token_id else []
