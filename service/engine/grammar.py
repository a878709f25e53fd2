"""JSON schemas as grammars (llguidance): which tokens may come next, for one sequence at a time.

A grammar is compiled per request, in milliseconds, and the mask of a step takes some ten microseconds a row, so
sequences with and without a grammar share every batch.

A grammar also keeps an eye on the tokens that are left: just before its text could no longer be completed, it takes
over and completes it the shortest way, so that an answer which is too long is cut and is JSON all the same.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from ragtune.errors import InvalidRequest

ANY_OBJECT = '{"type": "object"}'
_OPTIONS = "x-guidance"  # llguidance reads compiler options under this key of a schema; they are ours to set
_OPENING = b'{[,:"'  # a token that holds none of these begins nothing that must be completed
_STEP = 8  # tokens by which any other may lengthen the way to the end, where a pattern branches
_FAR = 512  # tokens of the longest way looked for: a search takes some ten microseconds a token
_REMAINDERS = 10_000
_KEPT = 32  # compiled schemas
_QUOTES = ('""', '"')
_BRACKETS = ("}", "]")
_WORDS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SIGNS = "@:/,.{[-_ "


class Closer:
    """Finds a short way to the end of a text: closing what is open first, then words and signs in turn."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        quotes, self._brackets, words, signs = (
            _tokens(texts, tokenizer) for texts in (_QUOTES, _BRACKETS, _WORDS, _SIGNS)
        )
        self._after_a_word = [*quotes, *self._brackets, *signs, *words]
        self._otherwise = [*quotes, *self._brackets, *words, *signs]
        self._words = frozenset(words)
        self._tokenizer = tokenizer
        self._opens: dict[int, bool] = {}
        self.end = int(tokenizer.eos_token)
        self._letter = _tokens("a", tokenizer)  # no literal begins with it

    def way(self, matcher: LLMatcher, most: int) -> list[int] | None:
        """Tokens, `most` at most, after which the text may end; None if no such way is found."""
        matcher = matcher.deep_copy()
        path: list[int] = []
        while not matcher.is_accepting():
            forced = matcher.compute_ff_tokens()
            tokens = forced or self._next(matcher.compute_bitmask(), bool(path) and path[-1] in self._words)
            path += tokens
            if not tokens or len(path) > most or not matcher.consume_tokens(tokens):
                return None
        return path

    def opens(self, token_id: int) -> bool:
        """Whether a token may begin something that must be completed."""
        if token_id not in self._opens:
            raw = self._tokenizer.decode_bytes([token_id])
            self._opens[token_id] = any(sign in raw for sign in _OPENING)
        return self._opens[token_id]

    def _next(self, mask: bytes, after_a_word: bool) -> list[int]:
        in_a_string = any(_allows(mask, token) for token in self._letter)  # outside only literals hold letters
        for token in self._after_a_word if after_a_word else self._otherwise:
            if _allows(mask, token) and not (in_a_string and token in self._brackets):
                return [token]
        allowed = np.flatnonzero(np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little"))
        return [int(token) for token in allowed[:1]]


@dataclass(frozen=True)
class Outlook:
    """What is known of the way to the end of a text: the way itself, or at least how many tokens it takes."""

    way: list[int] | None = None
    most: int = _FAR
    again: int = 1 << 62  # not looked for while more tokens are left: it was not found
    cut: bool = False


class Grammar:
    """Where one sequence stands in its grammar. `cut` once it had to be completed for want of tokens.

    `settle` only plans; `accept` takes the plan in. So a step that fails and is computed again changes nothing.
    """

    def __init__(self, matcher: LLMatcher, closer: Closer) -> None:
        self.matcher = matcher
        self._closer = closer
        self._outlook = self._planned = Outlook()

    @property
    def cut(self) -> bool:
        """Whether the text is being completed, or was, as the tokens would not have sufficed for more."""
        return self._outlook.cut

    @property
    def complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self.matcher.is_stopped()) or (self.cut and not self._outlook.way)

    def settle(self, token_id: int, left: int) -> int:
        """The token drawn, or the next on the way to the end if after it the `left` tokens would not suffice.

        `left` counts this token, too. The end of sequence is next where the text may end. A token that opens nothing
        lengthens the way by little; so it is looked for only after the others, and where tokens are few.
        """
        now = self._outlook
        if now.cut:
            return self._take(now.way or [])
        if now.way and now.way[0] == token_id:
            self._planned = Outlook(now.way[1:], len(now.way) - 1)
            return token_id
        opens = self._closer.opens(token_id)
        if left > (_FAR + now.most if opens else now.most + _STEP) or left > now.again:
            self._planned = Outlook(None, _FAR if opens else min(now.most + _STEP, _FAR), now.again)
            return token_id
        after = self.matcher.deep_copy()
        way = self._closer.way(after, min(left - 1, _FAR)) if after.consume_token(token_id) else None
        if way is not None:
            self._planned = Outlook(way, len(way))
            return token_id
        before = now.way if now.way is not None else self._closer.way(self.matcher, min(left, _FAR))
        if before is not None and len(before) <= left:
            return self._take(before)
        self._planned = Outlook(again=left - max(1, min(_STEP * 8, left // 4)))
        return token_id

    def accept(self, token_id: int) -> None:
        """Take in a token that stands in the sequence. Raises InvalidRequest if the grammar cannot go on."""
        if not self.matcher.consume_token(token_id):
            raise _beyond_limits(self.matcher)
        self._outlook = self._planned

    def _take(self, way: list[int]) -> int:
        self._planned = Outlook(way[1:], len(way), cut=True)
        return way[0] if way else self._closer.end


class Grammars:
    """Compiles schemas for one tokenizer, for a model with `vocabulary` logits. One thread at a time may compile."""

    def __init__(self, tokenizer: LLTokenizer, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._executor = LLExecutor()
        self._closer = Closer(tokenizer)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()  # at their beginning: choices share a schema

    def compile(self, schema_text: str) -> Grammar:
        """A grammar at its beginning. Raises InvalidRequest for a schema that cannot be enforced."""
        if schema_text not in self._compiled:
            self._compiled[schema_text] = _matcher(schema_text, self._tokenizer)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return Grammar(self._compiled[schema_text].deep_copy(), self._closer)

    def allowed(self, grammars: Items[Grammar]) -> list[NDArray[np.bool_] | InvalidRequest]:
        """(vocabulary,) for each: whether a token may come next; or why that cannot be said."""
        bits = allocate_token_bitmask(len(grammars), self._tokenizer.vocab_size)
        fill_next_token_bitmask_par(self._executor, [(g.matcher, row) for row, g in enumerate(grammars)], bits)
        known = min(self._tokenizer.vocab_size, self._vocabulary)
        allowed = np.zeros((len(grammars), self._vocabulary), dtype=np.bool_)  # a model may have logits to spare
        allowed[:, :known] = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :known]
        return [
            _beyond_limits(grammar.matcher) if grammar.matcher.is_error() else row
            for grammar, row in zip(grammars, allowed, strict=True)
        ]


def check_schema(schema_text: str, tokenizer: LLTokenizer) -> None:
    """Raises InvalidRequest, saying why, for a schema that is invalid or asks for what cannot be enforced."""
    _matcher(schema_text, tokenizer)


def _matcher(schema_text: str, tokenizer: LLTokenizer) -> LLMatcher:
    matcher = LLMatcher(tokenizer, _source(schema_text), log_level=0)
    matcher.compute_bitmask()  # some problems show only with the first mask
    if matcher.is_error():
        raise InvalidRequest(_refusal(matcher.get_error()))
    return matcher


def _allows(mask: bytes, token: int) -> bool:
    return bool(mask[token >> 3] >> (token & 7) & 1)


def _check_multiples(schema: Any) -> int:
    """The least common multiple of what must hold at one place. Raises InvalidRequest where it is too large.

    llguidance makes an automaton with a state for each remainder: at ten millions it takes minutes and gigabytes.
    """
    if isinstance(schema, list):
        return max(map(_check_multiples, schema), default=1)
    if not isinstance(schema, dict):
        return 1
    for key, value in schema.items():
        if key != "allOf":
            _check_multiples(value)
    together = [_check_multiples(branch) for branch in schema.get("allOf") or [] if isinstance(branch, dict)]
    multiple: int = math.lcm(_scaled(schema.get("multipleOf")), *together)
    if multiple > _REMAINDERS:
        raise InvalidRequest(f"this schema cannot be enforced: multipleOf with more than {_REMAINDERS} remainders")
    return multiple


def _scaled(multiple: object) -> int:
    """The digits of a multipleOf without its decimal point: 0.25 is 25. Whatever else it is, llguidance refuses."""
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or not math.isfinite(multiple):
        return 1
    digits = Decimal(str(multiple)).as_tuple()
    zeros = min(max(0, int(digits.exponent)), 99)
    return max(1, int("".join(map(str, digits.digits)) + "0" * zeros))


def _source(schema_text: str) -> str:
    schema = json.loads(schema_text)
    if _OPTIONS in schema:
        raise InvalidRequest(f"the schema holds {_OPTIONS!r}, which is no JSON schema keyword")
    _check_multiples(schema)
    options = {
        "whitespace_flexible": False,  # a small model may otherwise write blanks until its tokens are spent
        "lenient": False,
        "coerce_one_of": False,
        # No \\u escapes where none is needed: a key spelled with one would pass as a key the schema does not know.
        "json_allowed_escapes": 'nrbtf\\"',
    }
    try:
        return str(LLMatcher.grammar_from_json_schema(schema_text, overrides=options))  # type: ignore[arg-type]
    except ValueError as error:  # not what JSON is elsewhere: NaN, numbers beyond a double, too deep
        raise InvalidRequest(_refusal(str(error))) from error


def _tokens(texts: Items[str], tokenizer: LLTokenizer) -> list[int]:
    """The tokens of those texts that are one token."""
    found = (tokenizer.tokenize_str(text) for text in texts)
    return [tokens[0] for tokens in found if len(tokens) == 1]


def _refusal(problem: str) -> str:
    said = " ".join(problem.partition("<state>")[0].split())[:300]  # what follows is llguidance's own state
    return f"this schema cannot be enforced: {said}"


def _beyond_limits(matcher: LLMatcher) -> InvalidRequest:
    return InvalidRequest(f"the schema became too complex to enforce: {matcher.stop_reason()}")
