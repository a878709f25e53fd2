"""From examples to token ids, by the same rendering, retrieval and budget the service uses: what is trained is what
is served."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.tokenizer import Tokenizer
from indexer.choosing import choose
from indexer.record import Found
from ragtune.errors import RefusedArtifact
from ragtune.examples import Example, read_examples
from ragtune.prompt import Message, render
from ragtune.template import Template
from ragtune.wire import Passage

Search = Callable[[str], Sequence[Found]]


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
class Rendered:
    """Items ready to train on, and the ids of the examples left out, with why."""

    items: list[Item]
    too_long: list[str]
    unsupported: list[str]


def select(path: Path, task: str | None, limit: int | None, seed: int) -> list[Example]:
    """The examples of `task`, shuffled by `seed`, at most `limit`. Raises RefusedArtifact if there is none."""
    examples = [example for example in read_examples(path) if task is None or example.task == task]
    if not examples:
        raise RefusedArtifact(f"{path} holds no example of task {task!r}")
    random.Random(seed).shuffle(examples)
    return examples[:limit]


def render_all(
    examples: Sequence[Example],
    template: Template,
    tokenizer: Tokenizer,
    search: Search | None,
    passage_tokens: int,
    max_tokens: int,
) -> Rendered:
    """Every example rendered. With `search`, passages are retrieved as for a request.

    Left out and listed: examples longer than `max_tokens`, never cut; and answerable ones whose answer stands in none
    of the retrieved passages, as they would teach the model to make answers up. Raises RefusedArtifact if none is left.
    """
    rendered = Rendered([], [], [])
    for example in examples:
        found = choose(search(example.query), passage_tokens, template, tokenizer) if search else []
        if search and example.gold_documents and not _supported(example, found):
            rendered.unsupported.append(example.id)
            continue
        item = _item(example, found, template, tokenizer)
        if item.length > max_tokens:
            rendered.too_long.append(example.id)
        else:
            rendered.items.append(item)
    if not rendered.items:
        raise RefusedArtifact(
            f"no example is left to train on: {len(rendered.too_long)} are longer than {max_tokens} tokens, "
            f"{len(rendered.unsupported)} have an answer that no retrieved passage contains"
        )
    return rendered


def data_hash(items: Sequence[Item]) -> str:
    """SHA-256 over what is trained on, token by token."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr((item.prompt, item.answer)).encode())
    return digest.hexdigest()


def _item(example: Example, passages: Sequence[Passage], template: Template, tokenizer: Tokenizer) -> Item:
    prompt = render([Message(role="user", content=example.query)], passages, template, tokenizer)
    answer = tokenizer.encode_answer(example.answers[0])
    return Item(example.id, prompt.token_ids, tuple(answer))


def _supported(example: Example, passages: Sequence[Passage]) -> bool:
    text = " ".join(" ".join(passage.text.split()) for passage in passages).lower()
    return any(" ".join(answer.split()).lower() in text for answer in example.answers)
