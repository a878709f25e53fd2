"""The benchmark's fifty schemas are what it says of them: valid, varied, and read by llguidance without a warning."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from benchmarks.json_schemas import CASES, Case

# How many schemas hold a keyword at least, by what the benchmark promises and by what people write.
COVERED = {
    "enum": 20,
    "items": 25,
    "maxItems": 25,
    "pattern": 15,
    "format": 8,
    "anyOf": 10,
    "$ref": 8,
    "const": 6,
    "minLength": 10,
    "minimum": 20,
    "exclusiveMinimum": 4,
    "multipleOf": 8,
    "maxProperties": 5,
    "oneOf": 3,
    "prefixItems": 3,
    "patternProperties": 3,
    "allOf": 2,
    "default": 2,
}
OPTIONS = {"whitespace_flexible": False, "lenient": False, "coerce_one_of": False}


def subschemas(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within, the outermost first."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from subschemas(part)


def holding(keyword: str) -> list[str]:
    return [case.name for case in CASES if any(keyword in part for part in subschemas(case.schema))]


def depth(value: Any) -> int:
    """How many objects of an answer lie within one another."""
    if not isinstance(value, dict | list):
        return 0
    parts = value.values() if isinstance(value, dict) else value
    return max(map(depth, parts), default=0) + (isinstance(value, dict) and value.get("type") == "object")


def is_free(part: dict[str, Any]) -> bool:
    bounded = part.keys() & {"maxLength", "pattern", "format", "enum", "const"}
    return part.get("type") in ("string", ["string", "null"]) and not bounded


def test_there_are_fifty_and_each_has_its_own_name() -> None:
    assert len(CASES) == len({case.name for case in CASES}) == 50


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_is_a_valid_schema_that_becomes_a_grammar_without_a_warning(case: Case) -> None:
    Draft202012Validator.check_schema(case.schema)
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(case.schema), overrides=OPTIONS)
    assert LLMatcher.validate_grammar_with_warnings(grammar) == (False, [])
    assert case.question


@pytest.mark.parametrize(("keyword", "least"), COVERED.items())
def test_what_people_write_is_there_often_enough(keyword: str, least: int) -> None:
    assert len(holding(keyword)) >= least, holding(keyword)


def test_objects_lie_within_objects_and_a_third_has_strings_without_a_bound() -> None:
    assert sum(depth(case.schema) >= 2 for case in CASES) >= 15
    assert sum(any(is_free(part) for part in subschemas(case.schema)) for case in CASES) >= 15
