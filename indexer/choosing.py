"""Which of the passages that were found a prompt takes, the same for serving and training."""

from collections.abc import Sequence

from indexer.neighbours import joined
from indexer.record import Found
from ragtune.prompt import ChatTokenizer, numbered, within_budget
from ragtune.template import Template


def choose(found: Sequence[Found], budget: int, template: Template, tokenizer: ChatTokenizer) -> list[Found]:
    """Those that fit into `budget` tokens, by relevance, neighbours joined, in the order of their numbers.

    Raises IncompatibleParts if there are passages and none fits.
    """
    return numbered(joined(within_budget(found, budget, template, tokenizer)), template)
