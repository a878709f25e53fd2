"""Examples rendered as a training does, in one call."""

from collections.abc import Sequence

from adapters.dataset import Rendered, Search, closed_book, render_each, retrieved
from adapters.tokenizer import Tokenizer
from ragtune.examples import Example
from ragtune.template import Template


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
    choice = retrieved(search, passage_tokens, template, tokenizer) if search else closed_book
    return render_each(examples, choice, template, tokenizer, max_tokens)
