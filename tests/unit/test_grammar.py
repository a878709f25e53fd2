"""Schemas become masks that let exactly the right tokens through; what cannot be enforced is refused with a reason."""

import json
import time
from typing import Any

import jsonschema
import numpy as np
import pytest

from adapters.tokenizer import Tokenizer
from ragtune.errors import InvalidRequest
from service.engine.grammar import ANY_OBJECT, Grammars, check_schema
from tests.tiny import VOCAB, sentencepiece_tokenizer, tiny_tokenizer

TOKENIZER = Tokenizer(tiny_tokenizer())
PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ann", "Bo"]}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(TOKENIZER.vocabulary, VOCAB)


def letters(grammars: Grammars, schema: dict[str, Any], written: str) -> str:
    """What may follow `written`; $ is the end."""
    grammar = grammars.compile(json.dumps(schema))
    for token in TOKENIZER.encode(written)[0]:
        grammar.accept(token)
    ids = np.flatnonzero(grammars.allowed([grammar])[0]).tolist()
    return "".join("$" if i in TOKENIZER.eos_ids else TOKENIZER.decode([i]) for i in ids)


def test_only_what_the_schema_allows_may_follow(grammars: Grammars) -> None:
    assert letters(grammars, PERSON, "") == "{"
    assert sorted(letters(grammars, PERSON, '{"name":"')) == ["A", "B"]
    assert sorted(letters(grammars, PERSON, '{"name":"Bo","age":')) == list("0123456789")
    assert letters(grammars, {"type": "integer"}, "5").count("$") == 1


def test_a_grammar_is_complete_when_nothing_can_follow(grammars: Grammars) -> None:
    grammar = grammars.compile(json.dumps(PERSON))
    text = '{"name":"Bo","age":7}'
    for token in TOKENIZER.encode(text)[0]:
        assert not grammar.complete
        grammar.accept(token)
    assert grammar.complete


def test_masks_of_several_sequences_are_each_their_own_and_as_wide_as_the_logits(grammars: Grammars) -> None:
    one, other = grammars.compile(ANY_OBJECT), grammars.compile('{"enum": [true]}')
    allowed = np.array(grammars.allowed([one, other]))
    assert allowed.shape == (2, VOCAB)
    assert [TOKENIZER.decode(np.flatnonzero(row).tolist()) for row in allowed] == ["{", "t"]
    assert not allowed[:, TOKENIZER.vocab_size :].any()


def written(grammars: Grammars, schema: dict[str, Any], most: int, seed: int) -> tuple[str, bool]:
    """Random tokens under a grammar, `most` at most; and whether it was cut."""
    chance, grammar, ids = np.random.default_rng(seed), grammars.compile(json.dumps(schema)), list[int]()
    while len(ids) < most and not grammar.complete:
        drawn = int(chance.choice(np.flatnonzero(grammars.allowed([grammar])[0])))
        again, token = (grammar.settle(drawn, most - len(ids)) for _ in range(2))
        assert again == token  # settling twice, as a step that is computed again does, changes nothing
        grammar.accept(token)
        if token in TOKENIZER.eos_ids:
            break
        ids.append(token)
    return TOKENIZER.decode(ids), grammar.cut


FREE = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "mail": {"type": "string", "format": "email"},
        "parts": {"type": "array", "minItems": 1, "items": PERSON},
        "size": {"type": "number"},
    },
    "required": ["title", "mail", "parts", "size"],
    "additionalProperties": False,
}


WIDE = {  # inside an order the way to the end is far longer than from the beginning
    "type": "object",
    "properties": {
        "orders": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {f"field_{i}": {"type": "string", "maxLength": 4} for i in range(12)},
                "required": [f"field_{i}" for i in range(12)],
                "additionalProperties": False,
            },
        }
    },
    "required": ["orders"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("most", range(30, 700, 61))
def test_a_text_may_be_cut_within_something_long(grammars: Grammars, most: int) -> None:
    text, _ = written(grammars, WIDE, most, seed=most)
    jsonschema.validate(json.loads(text), WIDE)


@pytest.mark.parametrize("schema", [{"type": "number"}, {"anyOf": [{"const": 1}, {"const": 12345}]}])
def test_a_text_that_may_end_is_ended_rather_than_begun_anew(grammars: Grammars, schema: dict[str, Any]) -> None:
    for seed in range(40):
        text, _ = written(grammars, schema, 3, seed)
        jsonschema.validate(json.loads(text), schema)


def test_a_long_way_to_the_end_is_not_searched_for_every_token(grammars: Grammars) -> None:
    grammar = grammars.compile('{"type": "string", "minLength": 3000}')
    started = time.perf_counter()
    for left, token in zip(range(3060, 2960, -1), TOKENIZER.encode('"' + "x" * 99)[0], strict=True):
        grammar.accept(grammar.settle(token, left))
    assert time.perf_counter() - started < 1.0  # a search for each would take three seconds


@pytest.mark.parametrize("schema", [FREE, {"type": "array", "items": FREE}, {"type": "object"}, {"type": "string"}])
def test_a_text_that_grows_too_long_is_cut_just_before_it_could_no_longer_be_completed(
    grammars: Grammars, schema: dict[str, Any]
) -> None:
    cuts = 0
    for most in range(100, 180, 3):
        text, cut = written(grammars, schema, most, seed=most)
        jsonschema.validate(json.loads(text), schema)
        assert not cut or len(text.encode()) > most - 70
        cuts += cut
    assert cuts > 5 or schema == {"type": "object"}


def test_too_few_tokens_for_any_completion_leave_the_text_as_it_is(grammars: Grammars) -> None:
    text, cut = written(grammars, FREE, 20, seed=1)
    assert (len(text.encode()), cut) == (20, False)


def test_a_text_that_ends_by_itself_is_not_cut(grammars: Grammars) -> None:
    for seed in range(20):
        text, cut = written(grammars, PERSON, len('{"name":"Ann","age":7}'), seed)
        assert json.loads(text)["name"] in ("Ann", "Bo") and not cut


def test_a_key_cannot_hide_behind_another_spelling(grammars: Grammars) -> None:
    named = {"type": "object", "properties": {"name": {"type": "integer"}}}
    assert "u" not in letters(grammars, named, '{"n\\')
    assert "n" in letters(grammars, named, '{"n\\')


def test_a_sentencepiece_vocabulary_can_follow_a_grammar() -> None:
    tokenizer = Tokenizer(sentencepiece_tokenizer())
    grammars = Grammars(tokenizer.vocabulary, tokenizer.vocab_size)
    grammar, written = grammars.compile('{"const": {"é": 5}}'), b""
    while not grammar.complete:
        token = int(np.flatnonzero(grammars.allowed([grammar])[0])[0])
        grammar.accept(token)
        written += tokenizer.token_bytes(token)
    assert json.loads(written) == {"é": 5}


def test_a_token_that_does_not_fit_is_an_error(grammars: Grammars) -> None:
    grammar = grammars.compile(ANY_OBJECT)
    with pytest.raises(InvalidRequest, match="too complex to enforce"):
        grammar.accept(TOKENIZER.encode("x")[0][0])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strin"}, "Invalid type"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "Unsatisfiable"),
        ({"$ref": "#/definitions/missing"}, "does not exist"),
        ({"$ref": "http://example.com/schema"}, "not present"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "shoe-size"}, "format"),
        ({"type": "object", "properties": 5}, "properties"),
        ({"enum": []}, "Unsatisfiable"),
        ({"x-guidance": {"lenient": True}}, "x-guidance"),
        ({"type": "number", "minimum": float("nan")}, "enforced"),
        ({"type": "number", "maximum": float("inf")}, "enforced"),
        ({"$ref": "#"}, "enforced"),
        ({"type": "integer", "multipleOf": 1_000_000_007}, "remainders"),
        ({"type": "array", "items": {"type": "number", "multipleOf": 1.0001}}, "remainders"),
        ({"allOf": [{"multipleOf": 997}, {"multipleOf": 1009}], "type": "integer"}, "remainders"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(
    grammars: Grammars, schema: dict[str, Any], reason: str
) -> None:
    for refuse in (lambda text: check_schema(text, TOKENIZER.vocabulary), grammars.compile):
        with pytest.raises(InvalidRequest, match=reason) as error:
            refuse(json.dumps(schema))
        assert len(error.value.message) < 400
