"""When two texts say the same, and when an answer stands in one: without what does not matter to whoever reads them."""

import re
import unicodedata
from collections.abc import Iterable

from ragtune.examples import Example


def normalised(text: str) -> str:
    """In Unicode's compatibility form, without case, with single spaces. Punctuation stays: it may be a minus."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def before(example: Example) -> tuple[str, str]:
    """What stands before the query: the context, and what was said, normalised."""
    return normalised(example.context), normalised("\n".join(message.content for message in example.history))


def alike_before(one: Example, other: Example) -> bool:
    """Whether the same was said before both, and they stand on the same context, or only one of them on any."""
    (context, said), (context_of_other, said_of_other) = before(one), before(other)
    return said == said_of_other and (context == context_of_other or not (context and context_of_other))


def question(example: Example) -> tuple[str, ...]:
    """What is asked, and after what: equal for examples that ask the same."""
    return (*before(example), normalised(example.query))


def answers(example: Example) -> frozenset[str]:
    """Its answers, normalised."""
    return frozenset(map(normalised, example.answers))


def holds(text: str, example: Example) -> bool:
    """Whether one of the answers stands in `text`, both normalised, and not as a part of a longer word or number."""
    within = normalised(text)
    return any(stands(answer, within) for answer in answers(example))


def stands(answer: str, within: str) -> bool:
    """Whether `answer` stands in `within` as whole words, both normalised already."""
    return answer in within and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", within) is not None


def words(text: str) -> frozenset[str]:
    """The distinct words, normalised, without punctuation."""
    return frozenset(re.findall(r"\w+", normalised(text)))


def rarest_first(sets: Iterable[frozenset[str]]) -> dict[str, int]:
    """The place of every word among all, the rarest first; equally rare ones by their letters."""
    counts: dict[str, int] = {}
    for one in sets:
        for word in one:
            counts[word] = counts.get(word, 0) + 1
    return {word: place for place, word in enumerate(sorted(counts, key=lambda word: (counts[word], word)))}
