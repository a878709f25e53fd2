"""Text while tokens come: the pieces add up to the whole, and stop strings are found however the text is cut."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detokenise import Detokeniser, StopStrings


def utf8(ids: Sequence[int]) -> str:
    """A byte a token, as byte-level tokenizers decode."""
    return bytes(ids).decode(errors="replace")


def words(ids: Sequence[int]) -> str:
    """A word a token; the space before the first is left out, as sentencepiece tokenizers do. 0 is a control token."""
    return "".join(f" w{i}" for i in ids if i).removeprefix(" ")


def pieces(ids: Sequence[int], decode: object = utf8) -> list[str]:
    detokeniser = Detokeniser(decode)  # type: ignore[arg-type]
    return [*(detokeniser.push(i) for i in ids), detokeniser.flush()]


@given(st.binary(max_size=60))
def test_the_pieces_of_any_bytes_add_up_to_the_whole(data: bytes) -> None:
    assert "".join(pieces(data)) == utf8(data)


@given(st.text(st.characters(exclude_characters="\ufffd", codec="utf-8"), max_size=40))
def test_no_piece_of_a_text_holds_half_a_character(text: str) -> None:
    shown = pieces(text.encode())
    assert "".join(shown) == text
    assert not any("\ufffd" in piece for piece in shown)


def test_a_character_appears_with_its_last_byte() -> None:
    assert pieces("aé€".encode()) == ["a", "", "é", "", "", "€", ""]


def test_bytes_that_never_become_a_character_are_shown_at_the_end() -> None:
    assert pieces(b"a\xe2\x82") == ["a", "", "", "\ufffd"]


@given(st.lists(st.integers(0, 9), max_size=30))
def test_a_tokenizer_that_writes_the_first_word_differently_loses_no_space(ids: list[int]) -> None:
    assert "".join(pieces(ids, words)) == words(ids)


def cut(text: str, at: Sequence[int]) -> list[str]:
    borders = [0, *sorted({i % (len(text) + 1) for i in at}), len(text)]
    return [text[a:b] for a, b in pairwise(borders)]


def shown(parts: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    finder = StopStrings(stops)
    text = "".join(finder.push(part) for part in parts)
    return text + ("" if finder.found else finder.flush()), finder.found


SMALL = st.text(alphabet="ab\n", max_size=12)


@given(SMALL, st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 99)))
def test_how_a_text_is_cut_does_not_matter(text: str, stops: list[str], at: list[int]) -> None:
    assert shown(cut(text, at), stops) == shown(list(text), stops)


@given(SMALL, st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_is_the_text_before_the_first_stop_string_that_is_complete(text: str, stops: list[str]) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert shown(list(text), stops) == ((text[: min(ends)[1]], True) if ends else (text, False))


def test_what_may_be_the_beginning_of_a_stop_string_is_held_back_until_it_is_clear() -> None:
    finder = StopStrings(["\n\nQ:"])
    assert [finder.push(part) for part in ("a\n", "\n", "b", "\n\nQ", ":c", "d")] == ["a", "", "\n\nb", "", "", ""]
    assert finder.found and finder.flush() == ""


@pytest.mark.parametrize("stops", [[], [""]])
def test_without_stop_strings_everything_is_shown_at_once(stops: list[str]) -> None:
    finder = StopStrings(stops)
    assert [finder.push("a"), finder.push("b")] == ["a", "b"]
