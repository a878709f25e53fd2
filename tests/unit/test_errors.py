"""The error tree: what every error knows of itself, and how an unknown name is answered."""

import pytest

from ragtune.errors import InvalidRequest, RagtuneError, UnknownName


def test_an_error_carries_its_message_and_the_field_at_fault() -> None:
    error = InvalidRequest("no", param="model")
    assert (str(error), error.message, error.param) == ("no", "no", "model")
    assert RagtuneError("no").param is None


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("suport-lora", ["polite", "support-lora"], "did you mean 'support-lora'?"),
        ("a1", ["a2", "a3"], "did you mean 'a3' or 'a2'?"),
        ("zebra", ["polite", "support"], "known: polite, support"),
        ("q", [f"name{i}" for i in range(9)], "known: name0, name1, name2, name3, name4, name5, name6, name7 ..."),
        ("zebra", [], "no adapter is registered yet"),
    ],
)
def test_an_unknown_name_is_told_what_is_near_or_what_there_is(name: str, known: list[str], hint: str) -> None:
    error = UnknownName.among("adapter", name, known, param="mode")
    assert error.message == f"unknown adapter {name!r}; {hint}"
    assert error.param == "mode"
