"""A transcript's tokens add up to its text, and their bytes to the text's, however characters and stops are cut."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tokenizer import Tokenizer
from service.engine.messages import Logprobs, TokenEvent
from service.transcript import Token, Transcript, prompt_tokens, readable
from tests.tiny import sentencepiece_tokenizer

CONTROL = 256  # beside the 256 bytes


class Bytes:
    """A byte a token; id 256 is the control token <end>."""

    def decode(self, ids: Sequence[int]) -> str:
        """Without control tokens."""
        return bytes(i for i in ids if i != CONTROL).decode(errors="replace")

    def decode_all(self, ids: Sequence[int]) -> str:
        """With them."""
        return b"".join(self.token_bytes(i) for i in ids).decode(errors="replace")

    def is_control(self, token_id: int) -> bool:
        """Whether it is the one."""
        return token_id == CONTROL

    def token_bytes(self, token_id: int) -> bytes:
        """One byte, or the name."""
        return b"<end>" if token_id == CONTROL else bytes([token_id])


class Words(Bytes):
    """A word a token, its space before it; the first space of a text is left out, as sentencepiece does."""

    def decode(self, ids: Sequence[int]) -> str:
        """The words."""
        return b"".join(map(self.token_bytes, ids)).decode().removeprefix(" ")

    def token_bytes(self, token_id: int) -> bytes:
        """With the space."""
        return f" w{token_id}".encode()


def told(token: int) -> TokenEvent:
    return TokenEvent(token, Logprobs(-token / 100, ((65, -0.1), (0xC3, -0.2))))


def write(ids: Sequence[int], stops: Sequence[str] = (), vocabulary: Bytes | None = None, **options: int) -> Transcript:
    transcript = Transcript(vocabulary or Bytes(), stops, **options)
    transcript.text, transcript.tokens = "", []  # type: ignore[attr-defined]
    pieces = []
    for token in ids:
        pieces.append(transcript.push(told(token)))
        if transcript.stopped:
            break
    else:
        pieces.append(transcript.end())
    transcript.text = "".join(piece.text for piece in pieces)  # type: ignore[attr-defined]
    transcript.tokens = [token for piece in pieces for token in piece.tokens]  # type: ignore[attr-defined]
    return transcript


def spell(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_tokens_add_up_to_the_text_and_bytes_to_its_bytes(text: str, stops: list[str]) -> None:
    written = write(text.encode(), stops)
    shown, tokens = written.text, written.tokens  # type: ignore[attr-defined]
    ends = [text.find(stop) for stop in stops if stop in text]
    assert text.startswith(shown)
    assert (shown == text) == (not ends)
    assert not any(stop in shown for stop in stops)
    assert spell(tokens) == shown
    assert b"".join(token.bytes for token in tokens) == shown.encode()
    if not ends:
        assert [token.token_id for token in tokens] == list(text.encode())


@given(st.lists(st.integers(0, CONTROL), max_size=40))
def test_tokens_of_broken_text_add_up_too_and_each_is_there(ids: list[int]) -> None:
    written = write(ids)
    assert spell(written.tokens) == written.text == Bytes().decode(ids)  # type: ignore[attr-defined]
    assert [token.token_id for token in written.tokens] == ids  # type: ignore[attr-defined]
    raw = b"".join(token.bytes for token in written.tokens)  # type: ignore[attr-defined]
    assert raw == bytes(i for i in ids if i != CONTROL)


@given(st.text(max_size=20))
def test_pieces_give_each_token_out_with_its_text(text: str) -> None:
    transcript = Transcript(Bytes(), ["zz"])
    shown, known = "", ""
    for token in text.replace("zz", "z").encode():
        piece = transcript.push(told(token))
        shown, known = shown + piece.text, known + spell(piece.tokens)
        assert shown == known  # a token a character at most: neither ahead of its text nor behind
    piece = transcript.end()
    assert shown + piece.text == known + spell(piece.tokens)


def test_a_character_of_several_tokens_is_carried_by_the_last() -> None:
    tokens = write("é!".encode()).tokens  # type: ignore[attr-defined]
    assert [(t.text, t.bytes) for t in tokens] == [("", b"\xc3"), ("é", b"\xa9"), ("!", b"!")]


def test_a_stop_string_cuts_the_token_that_holds_its_beginning() -> None:
    written = write([1, 2, 3], ["2 w"], Words())
    assert written.text == "w1 w"  # type: ignore[attr-defined]
    assert [(t.text, t.bytes) for t in written.tokens] == [("w1", b"w1"), (" w", b" w")]  # type: ignore[attr-defined]


def test_a_tokenizer_that_leaves_out_the_first_space_still_adds_up() -> None:
    tokens = write([1, 2], vocabulary=Words()).tokens  # type: ignore[attr-defined]
    assert [t.bytes for t in tokens] == [b"w1", b" w2"]


def test_a_token_that_ends_the_text_is_told_without_text() -> None:
    transcript = Transcript(Bytes())
    pieces = [transcript.push(told(97)), transcript.push(told(0xC3)), transcript.push(replace(told(98), ends=True))]
    pieces.append(transcript.end())
    assert "".join(piece.text for piece in pieces) == "a\ufffd"
    tokens = [token for piece in pieces for token in piece.tokens]
    assert [(t.token_id, t.text) for t in tokens] == [(97, "a"), (0xC3, "\ufffd"), (98, "")]
    assert tokens[-1].logprob == -0.98


def test_bytes_of_a_sentencepiece_vocabulary_are_known_and_add_up() -> None:
    tokenizer = Tokenizer(sentencepiece_tokenizer())
    text = "a b€ c"
    tokens = write(tokenizer.encode_completion(text), vocabulary=tokenizer).tokens  # type: ignore[arg-type,attr-defined]
    assert [t.text for t in tokens] == ["a", " ", "b", "", "", "€", " ", "c"]
    assert b"".join(t.bytes for t in tokens) == text.encode()
    assert readable(tokenizer.token_bytes(tokenizer.encode_completion("a a")[-1])) == " a"


def test_stop_strings_count_only_where_they_end_after_min_tokens() -> None:
    assert write(b"abcabc", ["b"], min_tokens=3).text == "abca"  # type: ignore[attr-defined]
    assert write(b"abXYab", ["ab"], min_tokens=2).text == "abXY"  # type: ignore[attr-defined]
    assert write(b"abXYab", ["ab"], min_tokens=1).text == ""  # type: ignore[attr-defined]
    assert write(b"aabab", ["aba"], min_tokens=2).text == "a"  # type: ignore[attr-defined]
    assert write(b"abcabc", ["b"]).text == "a"  # type: ignore[attr-defined]


def test_candidates_are_named_by_text_or_by_their_bytes() -> None:
    (token,) = write(b"a").tokens  # type: ignore[attr-defined]
    assert [(c.text, c.bytes, c.logprob) for c in token.best] == [("A", b"A", -0.1), ("bytes:\\xc3", b"\xc3", -0.2)]
    assert token.logprob == -0.97
    assert readable("€".encode()) == "€"


def test_without_log_probabilities_no_tokens_are_kept() -> None:
    transcript = Transcript(Bytes())
    assert [transcript.push(TokenEvent(97)).tokens, transcript.end().tokens] == [(), ()]


@pytest.mark.parametrize("controls", [False, True])
def test_a_prompts_tokens_show_control_tokens_only_where_ids_were_sent(controls: bool) -> None:
    ids = [97, CONTROL, 98]
    scores = [None, Logprobs(-1.0), Logprobs(-2.0)]
    tokens = prompt_tokens(ids, scores, Bytes(), controls=controls)
    assert [t.token_id for t in tokens] == ids
    assert [t.logprob for t in tokens] == [None, -1.0, -2.0]
    assert spell(tokens) == ("a<end>b" if controls else "ab")
    assert all(a.logprob is None or b.logprob is not None for a, b in pairwise(tokens))
