"""Splitting: by headings first, then by tokens of the embedding model.

A section that fits is one passage. A longer one is cut between paragraphs, then between lines, then sentences, and only
if a sentence alone is too long between words: the pieces are packed greedily up to the limit. Every passage is an exact
span of the document's text, `document.text[start:end] == passage.text`, so that an answer can be traced to its source.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from indexer.documents import Document

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_SEPARATORS = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A passage before it is embedded: span, heading path and position in its document."""

    id: str
    document: str
    heading: tuple[str, ...]
    text: str
    start: int
    end: int

    @property
    def embedded_text(self) -> str:
        """What the embedding model reads: the heading path says what a short passage is about."""
        return f"{' > '.join(self.heading)}\n{self.text}" if self.heading else self.text


def split(document: Document, count: Callable[[str], int], max_tokens: int) -> list[Piece]:
    """The passages of `document`, each at most `max_tokens` as counted by `count`, heading path included.

    Only a single word longer than the limit can exceed it; it is cut into equal parts.
    """
    pieces: list[Piece] = []
    for heading, (start, end) in sections(document):
        room = max(16, max_tokens - (count(" > ".join(heading)) if heading else 0))
        for a, b in _fit(document.text, (start, end), count, room):
            text = document.text[a:b]
            content = f"{document.id}\0{len(pieces)}\0{text}"
            piece_id = hashlib.sha256(content.encode()).hexdigest()[:16]
            pieces.append(Piece(piece_id, document.id, heading, text, a, b))
    return pieces


def sections(document: Document) -> Iterator[tuple[tuple[str, ...], Span]]:
    """(heading path, span of the text under it) in order; sections without text are left out."""
    text = document.text
    path: dict[int, str] = {}
    at = 0
    fences = [match.span() for match in _FENCE.finditer(text)] if document.markdown else []
    for match in _HEADING.finditer(text) if document.markdown else ():
        if any(a <= match.start() < b for a, b in fences):
            continue  # a comment in a code block is no heading
        yield from _section(document, path, (at, match.start()))
        level = len(match[1])
        path = {k: v for k, v in path.items() if k < level} | {level: match[2]}
        at = match.end()
    yield from _section(document, path, (at, len(text)))


def _section(document: Document, path: dict[int, str], span: Span) -> Iterator[tuple[tuple[str, ...], Span]]:
    trimmed = _trim(document.text, span)
    if trimmed[0] < trimmed[1]:
        heading = tuple(path[level] for level in sorted(path))
        yield heading or ((document.title,) if document.title else ()), trimmed


def _fit(text: str, span: Span, count: Callable[[str], int], limit: int, level: int = 0) -> Iterator[Span]:
    """Spans of at most `limit` tokens that cover `span` but for white space at their borders."""
    if count(text[span[0] : span[1]]) <= limit:
        yield span
        return
    if level == len(_SEPARATORS):
        middle = (span[0] + span[1]) // 2
        if middle in span:
            yield span
            return
        for half in ((span[0], middle), (middle, span[1])):
            yield from _fit(text, half, count, limit, level)
        return
    current: Span | None = None
    for part in _parts(text, span, _SEPARATORS[level]):
        joined = (current[0], part[1]) if current else part
        if count(text[joined[0] : joined[1]]) <= limit:
            current = joined
            continue
        if current:
            yield current
        current = None
        if count(text[part[0] : part[1]]) <= limit:
            current = part
        else:
            yield from _fit(text, part, count, limit, level + 1)
    if current:
        yield current


def _parts(text: str, span: Span, separator: re.Pattern[str]) -> Iterator[Span]:
    at = span[0]
    for match in separator.finditer(text, *span):
        if _trim(text, (at, match.start()))[0] < match.start():
            yield _trim(text, (at, match.start()))
        at = match.end()
    if _trim(text, (at, span[1]))[0] < span[1]:
        yield _trim(text, (at, span[1]))


def _trim(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
