"""Which examples are not independent of each other, and so tell less than as many that are."""

import hashlib
from collections.abc import Sequence

from ragtune.examples import Example


def clusters(examples: Sequence[Example]) -> dict[str, str]:
    """By example what it shares with others: its first gold document, else the text it stands on, else itself.

    The turns of a conversation are together, in the cluster of the first of them that is there. Conversations that
    begin with the same words are one.
    """
    openings = {_opening(example) for example in examples if example.history}
    talks: dict[str, str] = {}
    return {
        example.id: talks.setdefault(_opening(example), _own(example))
        if _opening(example) in openings
        else _own(example)
        for example in examples
    }


def _own(example: Example) -> str:
    if example.gold_documents:
        return example.gold_documents[0]
    if example.context:
        return f"context {_short(example.context)}"
    return f"conversation {_short(_opening(example))}" if example.history else example.id


def _opening(example: Example) -> str:
    """What the user said first, which of a question without a history is the question."""
    return next((message.content for message in example.history if message.role == "user"), example.query)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
