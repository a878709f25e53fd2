"""JSON schemas as grammars (llguidance): which tokens may come next, for one sequence at a time.

A grammar is compiled per request, in milliseconds, and the mask of a step takes some ten microseconds a row, so
sequences with and without a grammar share every batch.
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


class Grammar:
    """Where one sequence stands in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher

    @property
    def complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self.matcher.is_stopped())

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

    def compile(self, schema_text: str) -> Grammar:
        """A grammar at its beginning. Raises InvalidRequest for a schema that cannot be enforced."""
        matcher = LLMatcher(self._tokenizer, _source(schema_text), log_level=0)
        if matcher.is_error():
            raise InvalidRequest(_refusal(matcher.get_error()))
        return Grammar(matcher)

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


def check_schema(schema_text: str) -> None:
    """Raises InvalidRequest, saying why, for a schema that is invalid or asks for what cannot be enforced."""
    if problem := LLMatcher.validate_grammar(_source(schema_text)):
        raise InvalidRequest(_refusal(problem))


def _source(schema_text: str) -> str:
    if _OPTIONS in json.loads(schema_text):
        raise InvalidRequest(f"the schema holds {_OPTIONS!r}, which is no JSON schema keyword")
    # No free whitespace: a small model may otherwise write blanks until its tokens are spent. Strict in the rest.
    options = {"whitespace_flexible": False, "lenient": False, "coerce_one_of": False}
    return str(LLMatcher.grammar_from_json_schema(schema_text, overrides=options))  # type: ignore[arg-type]


def _refusal(problem: str) -> str:
    return f"this schema cannot be enforced: {' '.join(problem.split())[:300]}"


def _beyond_limits(matcher: LLMatcher) -> InvalidRequest:
    return InvalidRequest(f"the schema became too complex to enforce: {matcher.stop_reason()}")
