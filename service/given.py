"""Passages that a client brings itself: they stand in the prompt as retrieved ones would, and nothing is searched.

Their order is the client's own, the first one being number 1: no rank is made, nothing is sorted, joined or left out.
Where a template puts the best passage last, number 1 stands there.
"""

from collections.abc import Sequence

from indexer.record import Found
from ragtune.errors import IncompatibleParts, InvalidRequest
from ragtune.prompt import ChatTokenizer, lay_out
from ragtune.template import Template
from ragtune.wire import GivenPassage, Retrieved, Retrieving

_OF_A_SEARCH = ("top_k", "retrieval", "filters", "min_score", "documents", "without_documents")
_NO_SEARCH = Retrieving()


def check_given(retrieving: Retrieving, mode: str, *, rag: bool) -> None:
    """Raises IncompatibleParts if the mode takes no passages, and InvalidRequest if beside those that are given
    something is asked of a search."""
    if not rag:
        instead = "rag" if mode == "base" else f"{mode}+rag"
        raise IncompatibleParts(
            f"passages are given, and the mode {mode!r} takes none; ask for {instead!r}", param="passages"
        )
    for name in _OF_A_SEARCH:
        if getattr(retrieving, name) != getattr(_NO_SEARCH, name):
            text = f"passages are given, so that nothing is searched; leave out {name!r}"
            raise InvalidRequest(text, param="passages")


def given_passages(
    given: Sequence[GivenPassage], budget: int, template: Template, tokenizer: ChatTokenizer
) -> list[Found]:
    """The passages as if a search had found them, with the ids `given-1`, `given-2` and so on.

    Raises InvalidRequest, with both numbers, if they take more than `budget` tokens as they are laid out.
    """
    passages = [
        Found(
            id=f"given-{number}",
            document=passage.document,
            heading=passage.heading,
            text=passage.text,
            start=0,
            end=len(passage.text),
        )
        for number, passage in enumerate(given, start=1)
    ]
    laid_out = [lay_out(number, each, template, tokenizer) for number, each in enumerate(passages, start=1)]
    taken = sum(len(tokenizer.encode(item + template.separator)[0]) for item in laid_out)
    if taken > budget:
        raise InvalidRequest(
            f"the {len(passages)} passages given take {taken} tokens as laid out, and passages may take {budget}; "
            "send fewer or shorter ones, or raise passage_tokens",
            param="passages",
        )
    return passages


def told(passages: Sequence[Found], *, raw: bool) -> Retrieved:
    """What an answer says of where its passages are from. None given is like none found: but before a `raw` prompt,
    the answer abstains."""
    count = len(passages)
    return Retrieved(method="given", top_k=count, found=count, abstained=not passages and not raw)
