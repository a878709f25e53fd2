"""One answer as it is written down: text without broken characters, cut at the first stop string, and its tokens.

The tokens of a transcript add up to its text, and their bytes to the text's bytes, also where a character is made of
several tokens (the last of them carries it, those before it are empty) and where a stop string cuts a token.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.detokenise import Detokeniser, StopStrings
from service.engine.messages import Logprobs, TokenEvent

_BROKEN = "\ufffd"


@dataclass(frozen=True)
class Candidate:
    """A token that could have stood somewhere, with its log-probability there."""

    token_id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """A token of a text. `logprob` is None for the first of a prompt: nothing stands before it."""

    token_id: int
    text: str
    bytes: bytes
    logprob: float | None
    best: tuple[Candidate, ...] = ()  # the likeliest in its place, best first


@dataclass(frozen=True)
class Piece:
    """Some more text, and the tokens that are complete with it (none unless log-probabilities were asked for)."""

    text: str
    tokens: tuple[Token, ...] = ()


class Vocabulary(Protocol):
    """What is asked of a tokenizer here."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without control tokens."""

    def decode_all(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens included."""

    def is_control(self, token_id: int) -> bool:
        """Whether this id is a control token."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; a control token's are its name."""


class Transcript:
    """Takes tokens, gives pieces. Stop strings count only once `min_tokens` tokens have come."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = (), min_tokens: int = 0) -> None:
        self._speller = _Speller(vocabulary, vocabulary.decode, controls=False)
        self._stops = StopStrings(stops)
        self._min_tokens = min_tokens
        self._count = 0
        self._shown = 0  # characters given out
        self._end = 0  # characters of all complete tokens
        self._stop_token: TokenEvent | None = None
        self._held: deque[tuple[int, Token]] = deque()  # tokens not given out yet, with where each ends

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found: nothing will follow."""
        return self._stops.found

    def push(self, event: TokenEvent) -> Piece:
        """What can be shown now; often nothing."""
        if event.ends:
            self._stop_token = event
            return Piece("")
        self._count += 1
        text, tokens = self._speller.push(event)
        self._hold(tokens)
        return self._release(self._stops.push(text, counts=self._count > self._min_tokens))

    def end(self) -> Piece:
        """What is left when the last token has come, broken characters included.

        A token that ended the generation is among the tokens, and has no text.
        """
        text, tokens = self._speller.flush()
        self._hold(tokens)
        if self._stop_token is not None:
            self._hold([self._speller.silent(self._stop_token)])
        shown = self._stops.push(text)
        return self._release(shown + self._stops.flush(), last=not self.stopped)

    def _hold(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._end += len(token.text)
            self._held.append((self._end, token))

    def _release(self, text: str, *, last: bool = False) -> Piece:
        self._shown += len(text)
        tokens: list[Token] = []
        while (text or last) and self._held and self._held[0][0] <= self._shown:
            tokens.append(self._held.popleft()[1])
        if self.stopped and self._held:
            end, token = self._held.popleft()
            if (kept := len(token.text) - (end - self._shown)) > 0:
                tokens.append(replace(token, text=token.text[:kept], bytes=token.text[:kept].encode()))
            self._held.clear()
        return Piece(text, tuple(tokens))


def prompt_tokens(
    ids: Sequence[int], scores: Sequence[Logprobs | None], vocabulary: Vocabulary, *, controls: bool
) -> tuple[Token, ...]:
    """A prompt's tokens with their scores. `controls` shows control tokens, as where a client sent their ids."""
    speller = _Speller(vocabulary, vocabulary.decode_all if controls else vocabulary.decode, controls=controls)
    tokens: list[Token] = []
    for token_id, score in zip(ids, scores, strict=True):
        tokens += speller.push(TokenEvent(token_id, score or _UNSCORED))[1]
    return (*tokens, *speller.flush()[1])


_UNSCORED = Logprobs(float("nan"))


class _Speller:
    """Finds the text of each token, which may become known only with the tokens after it."""

    def __init__(self, vocabulary: Vocabulary, decode: Callable[[Sequence[int]], str], *, controls: bool) -> None:
        self._vocabulary = vocabulary
        self._detokeniser = Detokeniser(decode)
        self._controls = controls
        self._run: list[TokenEvent] = []  # since the last complete character

    def push(self, event: TokenEvent) -> tuple[str, list[Token]]:
        """The text this token completes, and the tokens that stand for it."""
        text = self._detokeniser.push(event.token_id)
        if event.logprobs is None:
            return text, []
        self._run.append(event)
        return text, self._spell(text) if text else []

    def flush(self) -> tuple[str, list[Token]]:
        """What is left."""
        text = self._detokeniser.flush()
        return text, self._spell(text)

    def silent(self, event: TokenEvent) -> Token:
        """A token that is told and not shown."""
        return self._token(event, "", b"")

    def _spell(self, text: str) -> list[Token]:
        run, self._run = self._run, []
        if not run:
            return []
        raw = [self._bytes(event.token_id) for event in run]
        if b"".join(raw) != text.encode() and _BROKEN not in text:  # a tokenizer that leaves out its first space
            raw = [b""] * (len(run) - 1) + [text.encode()]
        texts = [""] * (len(run) - 1) + [text]
        return [self._token(*each) for each in zip(run, texts, raw, strict=True)]

    def _bytes(self, token_id: int) -> bytes:
        hidden = not self._controls and self._vocabulary.is_control(token_id)
        return b"" if hidden else self._vocabulary.token_bytes(token_id)

    def _token(self, event: TokenEvent, text: str, raw: bytes) -> Token:
        logprobs = event.logprobs
        if logprobs is None or logprobs is _UNSCORED:
            return Token(event.token_id, text, raw, None)
        best = tuple(self._candidate(*pair) for pair in logprobs.best)
        return Token(event.token_id, text, raw, logprobs.chosen, best)

    def _candidate(self, token_id: int, logprob: float) -> Candidate:
        raw = self._vocabulary.token_bytes(token_id)
        return Candidate(token_id, readable(raw), raw, logprob)


def readable(raw: bytes) -> str:
    """The text of a token's bytes; where they are no whole characters, `bytes:` and the bytes, as OpenAI writes it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
