"""JSON schemas as grammars (llguidance): which tokens may come next, for one sequence at a time.

A grammar is compiled per request, in milliseconds, and the mask of a step takes some ten microseconds a row, so
sequences with and without a grammar share every batch.

A grammar also keeps an eye on the tokens that are left: just before its text could no longer be completed, it takes
over and completes it the shortest way, so that an answer which is too long is cut and is JSON all the same.
"""

import json
from collections.abc import Sequence as Items

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from ragtune.errors import InvalidRequest

ANY_OBJECT = '{"type": "object"}'
_OPTIONS = "x-guidance"  # llguidance reads compiler options under this key of a schema; they are ours to set
_LEAP = 64  # tokens a single token may put between a text and its completion: a nested object with its required keys
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

    def _next(self, mask: bytes, after_a_word: bool) -> list[int]:
        in_a_string = any(_allows(mask, token) for token in self._letter)  # outside only literals hold letters
        for token in self._after_a_word if after_a_word else self._otherwise:
            if _allows(mask, token) and not (in_a_string and token in self._brackets):
                return [token]
        allowed = np.flatnonzero(np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little"))
        return [int(token) for token in allowed[:1]]


class Grammar:
    """Where one sequence stands in its grammar. `cut` once it had to be completed for want of tokens."""

    def __init__(self, matcher: LLMatcher, closer: Closer) -> None:
        self.matcher = matcher
        self.cut = False
        self._closer = closer
        self._way: list[int] | None = None  # from here to the end, while the tokens left are watched
        shortest = closer.way(matcher, 1 << 12)
        self._watched = 0 if shortest is None else len(shortest) + _LEAP  # from so many tokens left on

    @property
    def complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self.matcher.is_stopped()) or (self.cut and not self._way)

    def settle(self, token_id: int, left: int) -> int:
        """The token drawn, or the next on the way to the end if after it the `left` tokens would not suffice.

        `left` counts this token, too. Where no way was found before, there is nothing to settle.
        """
        if left > self._watched:
            return token_id
        if not self.cut:
            if self._way is None:
                self._way = self._closer.way(self.matcher, left)
                if self._way is None:
                    self._watched = 0
                    return token_id
            after = self.matcher.deep_copy()
            if after.consume_token(token_id) and (way := self._closer.way(after, left - 1)) is not None:
                self._way = way
                return token_id
            self.cut = True
        return self._way.pop(0) if self._way else token_id

    def accept(self, token_id: int) -> None:
        """Take in a token that stands in the sequence. Raises InvalidRequest if the grammar cannot go on."""
        if not self.matcher.consume_token(token_id):
            raise _beyond_limits(self.matcher)


class Grammars:
    """Compiles schemas for one tokenizer, for a model with `vocabulary` logits."""

    def __init__(self, tokenizer: LLTokenizer, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._executor = LLExecutor()
        self._closer = Closer(tokenizer)

    def compile(self, schema_text: str) -> Grammar:
        """A grammar at its beginning. Raises InvalidRequest for a schema that cannot be enforced."""
        matcher = LLMatcher(self._tokenizer, _source(schema_text), log_level=0)
        matcher.compute_bitmask()  # some problems show only with the first mask
        if matcher.is_error():
            raise InvalidRequest(_refusal(matcher.get_error()))
        return Grammar(matcher, self._closer)

    def allowed(self, grammars: Items[Grammar]) -> NDArray[np.bool_]:
        """(len(grammars), vocabulary): whether each token may come next."""
        bits = allocate_token_bitmask(len(grammars), self._tokenizer.vocab_size)
        fill_next_token_bitmask_par(self._executor, [(g.matcher, row) for row, g in enumerate(grammars)], bits)
        for grammar in grammars:
            if grammar.matcher.is_error():
                raise _beyond_limits(grammar.matcher)
        known = min(self._tokenizer.vocab_size, self._vocabulary)
        allowed = np.zeros((len(grammars), self._vocabulary), dtype=np.bool_)  # a model may have logits to spare
        allowed[:, :known] = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :known]
        return allowed


def _allows(mask: bytes, token: int) -> bool:
    return bool(mask[token >> 3] >> (token & 7) & 1)


def check_schema(schema_text: str) -> None:
    """Raises InvalidRequest, saying why, for a schema that is invalid or asks for what cannot be enforced."""
    if problem := LLMatcher.validate_grammar(_source(schema_text)):
        raise InvalidRequest(_refusal(problem))


def _source(schema_text: str) -> str:
    if _OPTIONS in json.loads(schema_text):
        raise InvalidRequest(f"the schema holds {_OPTIONS!r}, which is no JSON schema keyword")
    options = {
        "whitespace_flexible": False,  # a small model may otherwise write blanks until its tokens are spent
        "lenient": False,
        "coerce_one_of": False,
        # No \\u escapes where none is needed: a key spelled with one would pass as a key the schema does not know.
        "json_allowed_escapes": 'nrbtf\\"',
    }
    return str(LLMatcher.grammar_from_json_schema(schema_text, overrides=options))  # type: ignore[arg-type]


def _tokens(texts: Items[str], tokenizer: LLTokenizer) -> list[int]:
    """The tokens of those texts that are one token."""
    found = (tokenizer.tokenize_str(text) for text in texts)
    return [tokens[0] for tokens in found if len(tokens) == 1]


def _refusal(problem: str) -> str:
    return f"this schema cannot be enforced: {' '.join(problem.split())[:300]}"


def _beyond_limits(matcher: LLMatcher) -> InvalidRequest:
    return InvalidRequest(f"the schema became too complex to enforce: {matcher.stop_reason()}")
