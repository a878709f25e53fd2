"""Template files: what they may hold, and how placeholders are filled."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.errors import RefusedArtifact
from ragtune.template import Template, fill


def test_an_empty_file_is_the_default_template() -> None:
    assert Template.parse("") == Template()


def test_examples_are_read_in_order() -> None:
    template = Template.parse('[[examples]]\nuser="a"\nassistant="b"\n[[examples]]\nuser="c"\nassistant="d"')
    assert [(example.user, example.assistant) for example in template.examples] == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("system", "not valid TOML"),
        ('sytem = "x"', "field 'sytem'"),
        ('user = "{query} {colour}"', "unknown placeholder {colour}"),
        ('user = "{passages} {query}"', "unknown placeholder {passages}; known here: {query}"),
        ('user = "Hello."', "lacks {query}"),
        ('user_with_passages = "{query}"', "lacks {passages}"),
        ('passage = "[{number}] {heading}"', "lacks {text}"),
        ('[[examples]]\nuser = "a"', "field 'examples.0.assistant'"),
    ],
)
def test_a_wrong_template_is_refused_with_the_field_at_fault(text: str, reason: str) -> None:
    with pytest.raises(RefusedArtifact) as caught:
        Template.parse(text, "template 'polite'")
    assert caught.value.message.startswith("template 'polite'")
    assert reason in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"cannot read template .*missing\.toml"):
        Template.read(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RefusedArtifact, match="cannot read template"):
        Template.read(tmp_path / "binary.toml")


def test_the_hash_sees_the_content_and_not_the_formatting() -> None:
    one = Template.parse('system="Be brief."\nuser="{query}"')
    other = Template.parse('# a comment\nuser = "{query}"\nsystem = """Be brief."""')
    assert one.sha256 == other.sha256
    assert one.sha256 != Template.parse('system="Be brief!"').sha256


def test_values_are_never_scanned_for_placeholders() -> None:
    assert fill("{text} / {number}", {"text": "{number} {query}", "number": "1"}) == "{number} {query} / 1"


@given(st.text(), st.text())
def test_filling_puts_each_value_in_literally(query: str, passages: str) -> None:
    assert fill("<{passages}|{query}>", {"query": query, "passages": passages}) == f"<{passages}|{query}>"
