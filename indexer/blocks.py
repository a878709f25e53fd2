"""The structure of a document: sections under their headings, and the blocks of each. Spans are places in its text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from indexer.documents import Document

Span = tuple[int, int]
_PARSER = MarkdownIt("commonmark").enable("table")
_PARSER.core.ruler.enableOnly(["normalize", "block"])  # what is bold within a line is nothing to us
_NESTS = frozenset({"bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open"})
_LINES = frozenset({"fence", "code_block", "table_open", "html_block"})
_NEWLINE = re.compile(r"\r\n?|\n")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class Block:
    """A paragraph, list, quotation, table or piece of code. One of `lines` may be cut between lines only.

    `parts` are the items of a list or the blocks of a quotation.
    """

    span: Span
    lines: bool = False
    parts: tuple["Block", ...] = ()


@dataclass(frozen=True)
class Section:
    """The blocks below one heading, up to the next; `heading` is the path to it, outermost first."""

    heading: tuple[str, ...]
    blocks: tuple[Block, ...]


def sections(document: Document) -> Iterator[Section]:
    """The sections that have text, in order. Together they hold all text but headings, and rules at their ends.

    The title stands in for a first heading that is missing. Only Markdown has headings.
    """
    if document.markdown:
        yield from _Outline(document).sections()
    elif blocks := _paragraphs(document.text):
        yield Section(_titled(document, {}), tuple(blocks))


def trimmed(text: str, span: Span) -> Span:
    """`span` without the white space at its ends."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


class _Outline:
    """A Markdown document as its parser sees it, which knows the lines of each block."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._text = document.text
        self._tokens = _PARSER.parse(document.text)
        self._lines = [0, *(match.end() for match in _NEWLINE.finditer(document.text)), len(document.text)]

    def sections(self) -> Iterator[Section]:
        """From heading to heading; only those at the outermost level count."""
        path: dict[int, str] = {}
        at = begin = 0
        for i, token in enumerate(self._tokens):
            if token.type != "heading_open" or token.level or token.map is None:
                continue
            yield from self._section(path, self._tokens[begin:i], (at, self._lines[token.map[0]]))
            level, heading = int(token.tag[1]), " ".join(self._tokens[i + 1].content.split())
            path = {k: v for k, v in path.items() if k < level} | ({level: heading} if heading else {})
            at, begin = self._lines[token.map[1]], i + 3
        yield from self._section(path, self._tokens[begin:], (at, len(self._text)))

    def _section(self, path: dict[int, str], tokens: Sequence[Token], span: Span) -> Iterator[Section]:
        while tokens and (rule := self._rule(tokens[0])) and not self._text[span[0] : rule[0]].strip():
            span, tokens = (rule[1], span[1]), tokens[1:]
        while tokens and (rule := self._rule(tokens[-1])) and not self._text[rule[1] : span[1]].strip():
            span, tokens = (span[0], rule[0]), tokens[:-1]
        if blocks := tuple(self._blocks(tokens, 0, span)):
            yield Section(_titled(self._document, path), blocks)

    def _rule(self, token: Token) -> Span | None:
        """The span of a horizontal rule."""
        if token.type != "hr" or token.level or token.map is None:
            return None
        return self._lines[token.map[0]], self._lines[token.map[1]]

    def _blocks(self, tokens: Sequence[Token], level: int, span: Span) -> Iterator[Block]:
        """The blocks at one level. Each reaches to the next, so that what the parser takes for no block is kept."""
        opening = [i for i, token in enumerate(tokens) if token.level == level and token.nesting >= 0 and token.map]
        starts = [span[0], *(self._lines[(tokens[i].map or [0])[0]] for i in opening[1:]), span[1]]
        if not opening and (own := trimmed(self._text, span))[0] < own[1]:
            yield Block(own)
        for i, after, (start, end) in zip(opening, [*opening[1:], len(tokens)], pairwise(starts), strict=False):
            own = trimmed(self._text, (start, end))
            if own[0] == own[1]:
                continue
            nests = tokens[i].type in _NESTS
            parts = tuple(self._blocks(tokens[i + 1 : after], level + 1, own)) if nests else ()
            yield Block(own, lines=tokens[i].type in _LINES, parts=parts)


def _paragraphs(text: str) -> list[Block]:
    spans = separated(text, (0, len(text)), _BLANK_LINE)
    return [Block(span) for span in spans]


def separated(text: str, span: Span, separator: re.Pattern[str]) -> list[Span]:
    """What lies between the separators within `span`, trimmed; nothing empty."""
    borders = [span[0]]
    for match in separator.finditer(text, *span):
        borders += [match.start(), match.end()]
    borders.append(span[1])
    parts = (trimmed(text, (borders[i], borders[i + 1])) for i in range(0, len(borders), 2))
    return [part for part in parts if part[0] < part[1]]


def _titled(document: Document, path: dict[int, str]) -> tuple[str, ...]:
    heading = tuple(path[level] for level in sorted(path))
    return heading if 1 in path or not document.title else (document.title, *heading)
