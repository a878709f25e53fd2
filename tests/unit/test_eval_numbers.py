"""Numbers in texts, by eye and by their laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.numbers import last_number, numeric_match


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("26", 26),
        ("It is 26.", 26),
        ("1,234,567.5 m", 1234567.5),
        ("12'500 and 13\u00a0500", 13500),
        ("$1,234", 1234),
        ("-$5", -5),
        ("$-5.50", -5.5),
        ("−3 °C", -3),
        ("minus: -3", -3),
        ("from 10-12", 12),
        ("10–12", 12),
        ("#### 42", 42),
        ("= .5", 0.5),
        ("is...5", 5),
        ("1e-3", 0.001),
        ("12km", 12),
        ("x=5, y=7", 7),
        ("1.2.3", 1.2),
        ("12,34", 34),
        ("the KX12", None),
        ("pump A-12", 12),
        ("none", None),
        ("", None),
        ("9" * 5000, None),
        ("٣", None),
    ],
)
def test_the_last_number_is_read(text: str, value: float | None) -> None:
    found = last_number(text)
    assert (None if found is None else found.value) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("text", "answers", "score"),
    [
        ("so 3 + 4 = 7", ["7"], 1),
        ("7, not 8", ["7"], 0),
        ("1,000.00 EUR", ["1000"], 1),
        ("1000001", ["1000000"], 1),
        ("1000002", ["1000000"], 0),
        ("45%", ["45 %"], 1),
        ("45 percent", ["45%"], 1),
        ("45", ["45%"], 1),
        ("0.45", ["45%"], 1),
        ("0.45%", ["45%"], 0),
        ("-7", ["7"], 0),
        ("seven", ["7"], 0),
        ("7", ["5", "7 months"], 1),
        ("0", ["-0.0"], 1),
        ("7", ["seven"], None),
        ("7", ["seven", "7"], 1),
    ],
)
def test_numeric_match_by_eye(text: str, answers: list[str], score: float | None) -> None:
    assert numeric_match(text, answers) == score


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "$", "€"]), st.sampled_from(["", " m", "%", "."]))
def test_a_number_is_read_with_and_without_its_thousands_separated(value: int, currency: str, unit: str) -> None:
    for written in (f"{value}", f"{value:,}"):
        assert (found := last_number(f"It is {currency}{written}{unit}")) is not None and found.value == value


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_any_float_equals_itself_as_python_writes_it(value: float) -> None:
    assert numeric_match(f"about {value!r}", [repr(value)]) == 1


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_text_breaks_the_reading(text: str, answer: str) -> None:
    assert numeric_match(text, [answer]) in (0, 1, None)
    assert last_number(text) == last_number(f"{text} ")
