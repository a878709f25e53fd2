"""From examples to token ids, by the same rendering, retrieval and budget the service uses: what is trained is what
is served."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from adapters.tokenizer import Tokenizer
from adapters.wording import holds
from indexer.choosing import choose
from indexer.record import Found
from ragtune.errors import IncompatibleParts, InvalidRequest, RefusedArtifact
from ragtune.examples import UNANSWERABLE, Example
from ragtune.prompt import Message, render
from ragtune.template import Template
from ragtune.terminal import say
from ragtune.wire import Passage

Search = Callable[[str], Sequence[Found]]
Watch = Callable[[str, int, int], None]
"""Told of a stage, how many are done, and of how many; it may raise to end the work."""

Reason = Literal["too long", "unsupported", "no gold", "not indexed", "over budget", "no distractor"]
REASONS: tuple[Reason, ...] = get_args(Reason)
_MEANING: dict[Reason, str] = {
    "too long": "are longer than max_tokens",
    "unsupported": "have an answer that stands in none of their passages",
    "no gold": "name no gold document",
    "not indexed": "have gold documents, or a context, of which no passage was found in the index",
    "over budget": "have a gold passage that is larger than the budget for passages",
    "no distractor": "were to do without their gold passage, and no other was found, or fits",
}


@dataclass(frozen=True)
class Item:
    """One example as the model sees it: the prompt, and the answer with its end of turn, which carries the loss."""

    id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    task: str = "default"

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class LeftOut:
    """An example that is not trained on."""

    id: str
    task: str
    reason: Reason


@dataclass(frozen=True)
class Shown:
    """An example with its passages, in the order of their numbers. `fewer`: there were not as many as asked for."""

    example: Example
    passages: Sequence[Passage] = ()
    fewer: bool = False


Choice = Callable[[Example], Shown | Reason]
"""What is shown with an example, or why it is left out."""


@dataclass(frozen=True)
class Rendered:
    """Items ready to train on, in the order of their examples, what was left out, and of how many passages lacked."""

    items: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    fewer: list[str] = field(default_factory=list)

    def ids(self, reason: Reason) -> list[str]:
        """The examples left out for this reason."""
        return [left.id for left in self.left_out if left.reason == reason]

    def show(self) -> None:
        """Tell a person what was left out."""
        for reason in REASONS:
            if ids := self.ids(reason):
                named = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
                say(f"left out: {len(ids)} examples {_MEANING[reason]}: {named}")
        if self.fewer:
            say(f"{len(self.fewer)} examples have fewer distractors than asked for: no more were found, or fit")


def closed_book(example: Example) -> Shown:
    """The example as it would be asked without an index: behind its context, if it has one."""
    return Shown(example.model_copy(update={"query": example.asked}))


def retrieved(search: Search, passage_tokens: int, template: Template, tokenizer: Tokenizer) -> Choice:
    """The example with passages as they would be retrieved for a request; unsupported if they do not hold its answer,
    though some document does."""

    def chosen(example: Example) -> Shown | Reason:
        found = choose(search(example.query), passage_tokens, template, tokenizer)
        answerable = example.slice != UNANSWERABLE and (example.gold_documents or example.context)
        if answerable and not any(holds(passage.text, example) for passage in found):
            return "unsupported"
        return Shown(example, found)

    return chosen


def render_each(
    examples: Sequence[Example],
    choice: Choice,
    template: Template,
    tokenizer: Tokenizer,
    max_tokens: int,
    source: str = "train",
    watch: Watch | None = None,
) -> Rendered:
    """Every example rendered with what `choice` shows of it; `source` is what errors call the examples.

    Raises RefusedArtifact if none is left, and for one that the chat template or the budget for passages refuses.
    """
    rendered = Rendered()
    for number, example in enumerate(examples, start=1):
        try:
            item = _item(choice(example), template, tokenizer, max_tokens, rendered)
        except (InvalidRequest, IncompatibleParts) as error:
            raise RefusedArtifact(f"example {example.id!r}: {error.message}") from error
        if isinstance(item, Item):
            rendered.items.append(item)
        else:
            rendered.left_out.append(LeftOut(example.id, example.task, item))
        if watch:
            watch(f"rendering {source}", number, len(examples))
    if not rendered.items:
        counts = {reason: len(rendered.ids(reason)) for reason in REASONS}
        told = [f"{count} {_meaning(reason, max_tokens)}" for reason, count in counts.items() if count]
        raise RefusedArtifact(f"{source}: no example is left: {', '.join(told) or 'there was none'}")
    return rendered


def filled(items: Sequence[Item], batch_tokens: int) -> Iterator[list[Item]]:
    """Batches of like length, of at most `batch_tokens` tokens once padded, or of a single longer item."""
    batch: list[Item] = []
    for item in sorted(items, key=lambda item: item.length):  # the longest so far, so it decides the padded size
        if batch and (len(batch) + 1) * item.length > batch_tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def data_hash(items: Sequence[Item]) -> str:
    """SHA-256 over what is trained on, token by token."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr((item.task, item.prompt, item.answer)).encode())
    return digest.hexdigest()


def _item(
    shown: Shown | Reason, template: Template, tokenizer: Tokenizer, max_tokens: int, rendered: Rendered
) -> Item | Reason:
    if not isinstance(shown, Shown):
        return shown
    example = shown.example
    messages = [*example.history, Message(role="user", content=example.query)]
    prompt = render(messages, shown.passages, template, tokenizer)
    item = Item(example.id, prompt.token_ids, tuple(tokenizer.encode_answer(example.answers[0])), example.task)
    if item.length > max_tokens:
        return "too long"
    if shown.fewer:
        rendered.fewer.append(example.id)
    return item


def _meaning(reason: Reason, max_tokens: int) -> str:
    return f"are longer than {max_tokens} tokens (max_tokens)" if reason == "too long" else _MEANING[reason]
