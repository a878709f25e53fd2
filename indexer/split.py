"""Splitting: by structure first, then by tokens of the embedding model.

A section that fits is one passage. Of a longer one as many whole blocks as fit make a passage. A block that is too long
itself is cut: a list between items, tables and code between lines, a paragraph between sentences, and only what is
still too long between lines, words, and at last within a word. Where a paragraph was cut, neighbours overlap by whole
sentences. Every passage is an exact span of the document's text, `document.text[start:end] == passage.text`, so that an
answer can be traced to its source.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from indexer.blocks import Block, Span, sections, separated
from indexer.documents import Document
from indexer.tokens import Offsets, Tokens

OVERLAP = 30
_LINE, _WORD = re.compile(r"\n"), re.compile(r"\s+")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])")


@dataclass(frozen=True)
class Piece:
    """A passage before it is embedded: span, heading path and position in its document.

    It `joins` the piece before it if both are of one section: then either they overlap, or only `gap`, white space,
    lies between them.
    """

    id: str
    document: str
    heading: tuple[str, ...]
    text: str
    start: int
    end: int
    joins: bool = False
    gap: str = ""

    @property
    def embedded_text(self) -> str:
        """What the embedding model reads: the heading path says what a short passage is about."""
        return embedded_text(self.heading, self.text)


@dataclass(frozen=True)
class _Unit:
    """What is never cut any further. Units with the same `paragraph`, if they have one, may be in two pieces.

    `begins` a block that was too long for one piece.
    """

    span: Span
    paragraph: int = -1
    begins: bool = False


def embedded_text(heading: Sequence[str], text: str) -> str:
    """A passage as the embedding model reads it."""
    return f"{' > '.join(heading)}\n{text}" if heading else text


def split(document: Document, offsets: Offsets, max_tokens: int, overlap: int = OVERLAP) -> list[Piece]:
    """The passages of `document`, none longer than `max_tokens`, heading path included, as `offsets` tells tokens.

    A heading path that would take more than half of it is shortened, from the outermost heading on. Neighbours of a cut
    paragraph overlap by at most `overlap` tokens, and a quarter of what fits.
    """
    structure = list(sections(document)) or list(sections(replace(document, markdown=False)))  # nothing but headings
    tokens = Tokens(document.text, offsets)
    pieces: list[Piece] = []
    for section in structure:
        heading = _shortened(section.heading, offsets, max_tokens // 2)
        fit = _Fit(document.text, heading, tokens, offsets, max_tokens, overlap)
        before = None
        for start, end in fit.spans(section.blocks):
            gap = "" if before is None else document.text[before:start]
            text = document.text[start:end]
            piece_id = hashlib.sha256(f"{document.id}\0{len(pieces)}\0{text}".encode()).hexdigest()[:16]
            pieces.append(Piece(piece_id, document.id, heading, text, start, end, before is not None, gap))
            before = end
    return pieces


def _shortened(heading: tuple[str, ...], offsets: Offsets, most: int) -> tuple[str, ...]:
    places = offsets(" > ".join(heading))
    while len(places) > most and len(heading) > 1:
        heading = heading[1:]
        places = offsets(heading[0]) if len(heading) == 1 else offsets(" > ".join(heading))
    if len(places) <= most:
        return heading
    cut = heading[0][: places[most][0]].rstrip()
    return (cut,) if cut else ()


@dataclass(frozen=True)
class _Fit:
    """What the pieces of one section must fit: `limit` tokens with this heading."""

    text: str
    heading: tuple[str, ...]
    tokens: Tokens
    offsets: Offsets
    limit: int
    overlap: int

    def spans(self, blocks: Sequence[Block]) -> list[Span]:
        """The spans of the pieces. Some tokenizers see the ends of a piece otherwise once it is cut: it is counted."""
        room = max(1, self.limit - (self._count("") if self.heading else 0))
        while True:
            units = [unit for block in blocks for unit in _units(self.text, block, self.tokens, room)]
            spans = list(_packed(units, self.tokens, room, min(self.overlap, room // 4)))
            excess = max(self._count(self.text[start:end]) for start, end in spans) - self.limit
            if excess <= 0 or room == 1:
                return spans
            room = max(1, room - excess)

    def _count(self, text: str) -> int:
        return len(self.offsets(embedded_text(self.heading, text)))


def _packed(units: Sequence[_Unit], tokens: Tokens, room: int, overlap: int) -> Iterator[Span]:
    """As many units a piece as fit. A block that had to be cut begins a piece, unless that left a scrap behind."""
    first = 0
    while first < len(units):
        start, last = units[first].span[0], first
        while last + 1 < len(units) and tokens.count(start, units[last + 1].span[1]) <= room:
            if units[last + 1].begins and 4 * tokens.count(start, units[last].span[1]) > room:
                break
            last += 1
        yield start, units[last].span[1]
        first = _next(units, first, last, tokens, room, overlap)


def _next(units: Sequence[_Unit], first: int, last: int, tokens: Tokens, room: int, overlap: int) -> int:
    """The unit that the next piece begins with: one after the last, or before it if a paragraph goes on there."""
    begin = last + 1
    if begin == len(units) or units[last].paragraph != units[begin].paragraph or units[last].paragraph < 0:
        return begin
    while begin - 1 > first and units[begin - 1].paragraph == units[last].paragraph:
        start = units[begin - 1].span[0]
        if tokens.count(start, units[last].span[1]) > overlap or tokens.count(start, units[last + 1].span[1]) > room:
            break
        begin -= 1
    return begin


def _units(text: str, block: Block, tokens: Tokens, room: int) -> Iterator[_Unit]:
    """`block` whole if it fits, else what it has to be cut into."""
    if tokens.count(*block.span) <= room:
        yield _Unit(block.span)
        return
    if block.parts:
        units = [unit for part in block.parts for unit in _units(text, part, tokens, room)]
    else:
        separators = (_LINE, _WORD) if block.lines else (_SENTENCE, _LINE, _WORD)
        paragraph = -1 if block.lines else block.span[0]
        units = [_Unit(span, paragraph) for span in _cut(text, block.span, tokens, room, separators)]
    yield replace(units[0], begins=True)
    yield from units[1:]


def _cut(text: str, span: Span, tokens: Tokens, room: int, separators: tuple[re.Pattern[str], ...]) -> Iterator[Span]:
    """Spans that fit, by the first separator, and what is still too long by the others."""
    if tokens.count(*span) <= room:
        yield span
    elif separators:
        for part in separated(text, span, separators[0]):
            yield from _cut(text, part, tokens, room, separators[1:])
    else:
        start = span[0]
        while start < span[1]:
            end = span[1] if tokens.count(start, span[1]) <= room else min(span[1], tokens.reach(start, room))
            yield start, end
            start = end
