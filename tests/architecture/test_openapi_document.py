"""The committed OpenAPI document is what the application says, and says enough to work by."""

from typing import Any

import jsonschema
import pytest

from scripts.write_openapi import PAGE, document, page

DOCUMENT = document()
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"components": DOCUMENT["components"]}


def examples(content: dict[str, Any]) -> list[Any]:
    """Those beside the schema, and those of the component it refers to."""
    if "schema" not in content:  # a stream: its events have one each
        return []
    schema = content["schema"].get("items", content["schema"])
    name = schema.get("$ref", "").rpartition("/")[2]
    component = DOCUMENT["components"]["schemas"].get(name, {})
    beside = [content["example"]] if "example" in content else []
    return beside + schema.get("examples", []) + component.get("examples", [])


def test_the_document_has_not_drifted() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/write_openapi.py if the change is meant"


def test_bounds_are_told_in_the_words_of_json_schema() -> None:
    assert not any(f'"{word}":' in page() for word in ("ge", "le", "gt", "lt"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_described_and_every_answer_has_a_schema(operation: dict[str, Any]) -> None:
    assert operation["description"] and operation["tags"]
    assert "500" in operation["responses"] and {"200", "202"} & set(operation["responses"])
    for response in operation["responses"].values():
        assert response["description"]
        assert all("schema" in content or "itemSchema" in content for content in response["content"].values())
    assert all(parameter.get("description") for parameter in operation.get("parameters", []))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_body_and_refusal_has_an_example_that_fits_its_schema(operation: dict[str, Any]) -> None:
    contents = list(operation.get("requestBody", {"content": {}})["content"].values())
    for content in contents:
        assert examples(content), "a request body without an example"
    for status, response in operation["responses"].items():
        shown = [example for content in response["content"].values() for example in examples(content)]
        assert status in ("200", "202") or shown
        contents += response["content"].values()
    for content in contents:
        for example in examples(content):
            schema = content["schema"].get("items", content["schema"])
            jsonschema.Draft202012Validator(resolved(schema)).validate(example)
