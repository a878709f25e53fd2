"""From messages, passages and a template to token ids: pure, the same for serving and training.

`render` is the only way a prompt is made. To see the exact prompt of a request, put a breakpoint on its last line.

Text of users, documents and templates is neutralised first: where it contains the text of a control token
(`<|im_end|>`), a space is put after that token's first character, so that it reads almost the same but cannot end a
turn. `render` checks afterwards that the prompt holds exactly the control tokens the chat template itself wrote.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from ragtune.errors import IncompatibleParts, InvalidRequest
from ragtune.template import Template, fill
from ragtune.wire import Passage

Role = Literal["system", "user", "assistant"]
P = TypeVar("P", bound=Passage)

RENDERING = 3  # part of every rendering hash; raise it when `render` changes what it produces


class Message(BaseModel):
    """One chat message with flat text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str


class ChatTokenizer(Protocol):
    """What rendering needs of a tokenizer. Not thread-safe: one object per thread."""

    @property
    def control_tokens(self) -> frozenset[str]:
        """Texts that would become control tokens if they stood in a prompt."""

    @property
    def chat_template(self) -> str:
        """The source of the chat template; empty if the model has none."""

    def chat_text(self, messages: Sequence[Message]) -> str:
        """The chat template applied, with the opening of the assistant's turn. Raises IncompatibleParts without one."""

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and the character span of each; control-token text becomes control tokens, none are added."""

    def is_control(self, token_id: int) -> bool:
        """Whether this id is a control token."""


@dataclass(frozen=True)
class Prompt:
    """Token ids, the text they encode, and the token span `(start, end)` of each passage in order."""

    token_ids: tuple[int, ...]
    text: str
    passage_spans: tuple[tuple[int, int], ...] = ()


def render(
    messages: Sequence[Message], passages: Sequence[Passage], template: Template, tokenizer: ChatTokenizer
) -> Prompt:
    """The prompt for `messages` (the last one from the user) with `passages`, as `numbered` has them, laid out by
    `template`.

    Raises InvalidRequest if the messages cannot form a prompt, IncompatibleParts if the model has no chat template.
    """
    if not messages or messages[-1].role != "user":
        raise InvalidRequest("the last message must come from the user", param="messages")
    items = _items(passages, template, tokenizer)
    chat = conversation(messages, items, template, tokenizer)
    text = tokenizer.chat_text(chat)
    token_ids, spans = tokenizer.encode(text)
    _check_neutral(token_ids, chat, tokenizer)
    asked_at = max(text.rfind(chat[-1].content.strip()), 0)  # the same text may stand in the history, too
    located = _locate(items, text, asked_at, spans)
    return Prompt(tuple(token_ids), text, located[::-1] if template.order == "best-last" else located)


def conversation(
    messages: Sequence[Message], items: Sequence[str], template: Template, tokenizer: ChatTokenizer
) -> list[Message]:
    """The chat as the model sees it: system text, examples, history, and the question laid out with its passages.

    A system message of the request replaces the template's.
    """
    *history, asked = [_neutral(message.role, message.content, tokenizer) for message in messages]
    system = [_neutral("system", template.system, tokenizer)] if template.system else []
    if history and history[0].role == "system":
        system, history = history[:1], history[1:]
    layout = neutralise(template.user_with_passages if items else template.user, tokenizer.control_tokens)
    question = fill(layout, {"query": asked.content, "passages": template.separator.join(items)})
    return [*system, *_few_shot(template, tokenizer), *history, Message(role="user", content=question)]


def numbered(passages: Sequence[P], template: Template) -> list[P]:
    """`passages`, best first, in the order of their numbers in the prompt: from the best, or in canonical order."""
    if template.order == "best-last":
        return list(passages)
    return sorted(passages, key=lambda passage: (passage.document, passage.start, passage.id))


def lead_in(passages: Sequence[Passage], template: Template, tokenizer: ChatTokenizer) -> str:
    """What stands before a raw prompt: the passages, as `numbered` has them, each with its separator."""
    return "".join(item + template.separator for item in _items(passages, template, tokenizer))


def lay_out(number: int, passage: Passage, template: Template, tokenizer: ChatTokenizer) -> str:
    """One passage as it stands in the prompt, numbered from 1 and neutralised."""
    values = {
        "number": str(number),
        "heading": " > ".join(passage.heading) or passage.document,
        "document": passage.document,
        "text": passage.text,
    }
    return neutralise(fill(template.passage, values), tokenizer.control_tokens)


def within_budget(passages: Sequence[P], budget: int, template: Template, tokenizer: ChatTokenizer) -> list[P]:
    """The passages, best first, that fit into `budget` tokens as laid out; whole ones only.

    A passage that does not fit is passed over and smaller ones after it may still enter. Raises IncompatibleParts if
    there are passages and none fits: answering without the knowledge that was asked for would be a silent fallback.
    """
    chosen: list[P] = []
    for passage in passages:
        cost = len(tokenizer.encode(lay_out(len(chosen) + 1, passage, template, tokenizer) + template.separator)[0])
        if cost <= budget:
            chosen.append(passage)
            budget -= cost
    if passages and not chosen:
        raise IncompatibleParts(
            f"none of {len(passages)} retrieved passages fits into {budget} tokens; raise passage_tokens "
            "or rebuild the index with shorter passages"
        )
    return chosen


def neutralise(text: str, control_tokens: frozenset[str]) -> str:
    """`text` with no control token left in it; repeats until stable, as one replacement could form another.

    Nothing can be put inside a control token of a single character; `render` refuses text that holds one.
    """
    pattern = _any_of(control_tokens)
    while pattern and pattern.search(text):
        text = pattern.sub(lambda found: found[0][0] + " " + found[0][1:], text)
    return text


@lru_cache(maxsize=8)
def _any_of(control_tokens: frozenset[str]) -> re.Pattern[str] | None:
    # Longest first, then by text: the order of a set differs between processes, the prompt must not.
    tokens = sorted((token for token in control_tokens if len(token) > 1), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def rendering_hash(template: Template, tokenizer: ChatTokenizer) -> str:
    """SHA-256 over all that decides how a prompt looks: what was trained under one hash must be served under it."""
    parts = f"{RENDERING}\0{template.sha256}\0{tokenizer.chat_template}"
    return hashlib.sha256(parts.encode()).hexdigest()


def _items(passages: Sequence[Passage], template: Template, tokenizer: ChatTokenizer) -> list[str]:
    """The passages as they stand in the prompt, in that order: number one last, if the best is to stand there."""
    items = [lay_out(number, passage, template, tokenizer) for number, passage in enumerate(passages, start=1)]
    return items[::-1] if template.order == "best-last" else items


def _neutral(role: Role, text: str, tokenizer: ChatTokenizer) -> Message:
    return Message(role=role, content=neutralise(text, tokenizer.control_tokens))


def _few_shot(template: Template, tokenizer: ChatTokenizer) -> list[Message]:
    shown: list[Message] = []
    for example in template.examples:
        shown.append(_neutral("user", example.user, tokenizer))
        shown.append(_neutral("assistant", example.assistant, tokenizer))
    return shown


def _check_neutral(token_ids: Sequence[int], chat: Sequence[Message], tokenizer: ChatTokenizer) -> None:
    empty = [Message(role=message.role, content="x") for message in chat]
    expected = sum(map(tokenizer.is_control, tokenizer.encode(tokenizer.chat_text(empty))[0]))
    if sum(map(tokenizer.is_control, token_ids)) != expected:
        raise InvalidRequest("the messages or passages contain control tokens that cannot be neutralised")


def _locate(items: Sequence[str], text: str, at: int, spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The token span of each item, looked for in order from character `at` of the prompt's text."""
    located = []
    for item in items:
        stripped = item.strip()  # some chat templates trim the message they are given
        start = text.find(stripped, at)
        if start < 0:
            raise IncompatibleParts("the model's chat template changes the text of passages; they cannot be located")
        at = start + len(stripped)
        inside = [i for i, (a, b) in enumerate(spans) if a < at and b > start]
        located.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    return tuple(located)
