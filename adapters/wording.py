"""When two examples say the same: texts without what does not matter to whoever reads them. Plain Python."""

import re
import unicodedata

from ragtune.examples import Example


def normalised(text: str) -> str:
    """In Unicode's compatibility form, without case, with single spaces. Punctuation stays: it may be a minus."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def before(example: Example) -> tuple[str, str]:
    """What stands before the query: the context, and what was said, normalised."""
    return normalised(example.context), normalised("\n".join(message.content for message in example.history))


def question(example: Example) -> tuple[str, ...]:
    """What is asked, and after what: equal for examples that ask the same."""
    return (*before(example), normalised(example.query))


def answers(example: Example) -> frozenset[str]:
    """Its answers, normalised; two examples agree if they have one in common."""
    return frozenset(map(normalised, example.answers))


def holds(text: str, example: Example) -> bool:
    """Whether one of the answers stands in `text`, both normalised, and not as a part of a longer word or number."""
    within = normalised(text)
    return any(re.search(rf"(?<![a-z0-9]){re.escape(answer)}(?![a-z0-9])", within) for answer in answers(example))
