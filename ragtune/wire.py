"""The shapes that travel: passages, usage, timings, answers, and the requests of our own routes.

The same classes are written by the service and read by the command line and the evaluator.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt

from ragtune.settings import Retrieval

FinishReason = Literal["stop", "length"]

Number = StrictFloat  # takes 1 and 1.5, and neither true nor "1"
Count = StrictInt
Value = str | int | Annotated[float, Field(allow_inf_nan=False)] | bool
Filters = Annotated[dict[str, Value | Annotated[tuple[Value, ...], Field(max_length=100)]], Field(max_length=32)]


class Passage(BaseModel):
    """A retrieved piece of a document. `start` and `end` are character offsets into the document's text.

    `score` is the one that ranked it. `scores` has that of each leg: `dense` (cosine), `lexical` (BM25), `fused`
    (reciprocal rank), `rerank`. `joined` are the ids of the neighbours it was joined from, itself the first.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    document: str
    heading: tuple[str, ...] = ()
    text: str
    start: int
    end: int
    score: float = 0.0
    scores: dict[str, float] = {}
    joined: tuple[str, ...] = ()


class CitedPassage(Passage):
    """A passage as it was numbered in the prompt; `cited` when the answer contains `[number]`."""

    number: int
    cited: bool = False


class Usage(BaseModel):
    """Token counts. Virtual tokens of a soft prompt fill the context but are no prompt text: counted apart."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    virtual_tokens: int = 0


class Timings(BaseModel):
    """Milliseconds. `queue` is admission to first engine step, `first_token` admission to first token."""

    retrieval_ms: float = 0.0
    queue_ms: float = 0.0
    first_token_ms: float = 0.0
    total_ms: float = 0.0


class Retrieved(BaseModel):
    """How an answer's passages were found. `found` were, before the budget for passages; where none was, the answer
    `abstained`: it is a fixed text, and nothing was generated. The method `given`: the client brought them itself."""

    method: Retrieval | Literal["given"]
    top_k: int
    min_score: float | None = None
    found: int
    abstained: bool = False


class Answer(BaseModel):
    """What a mode answered, with everything needed to explain and repeat it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "gen-4f2a",
                    "mode": "support-lora",
                    "resolved_mode": "support-lora@2",
                    "versions": {"weights": "support-lora@2"},
                    "text": "26 months.",
                    "finish_reason": "stop",
                    "passages": [],
                    "passages_retrieved": 0,
                    "usage": {"prompt_tokens": 17, "completion_tokens": 5},
                    "timings": {"queue_ms": 0.4, "first_token_ms": 61.0, "total_ms": 180.2},
                }
            ]
        }
    )

    id: str
    mode: str
    resolved_mode: str
    versions: dict[str, str] = Field(description="what each part resolved to: part -> name@version")
    text: str
    finish_reason: FinishReason
    passages: list[CitedPassage] = []
    passages_retrieved: int = 0
    retrieval: Retrieved | None = Field(default=None, description="how passages were found; absent without rag")
    notes: list[str] = Field(default=[], description="where an adapter is served otherwise than it was trained")
    usage: Usage
    timings: Timings


class Sampling(BaseModel):
    """How tokens are chosen, and what is told of them.

    `temperature` 0 is greedy; `seed` makes a sampled answer repeatable. `logprobs` asks for the log-probability of
    every new token beside that many of the best alternatives, `score_prompt` for those of the prompt's tokens, too.
    `schema_text` is a JSON schema that the new text must satisfy.
    """

    model_config = ConfigDict(frozen=True)

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0 considers every token")
    min_p: float = Field(default=0.0, ge=0, le=1, description="share of the likeliest token's probability")
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=10, description="over prompt and new tokens; 1 is none")
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, description="over new tokens")
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, description="over new tokens")
    logit_bias: tuple[tuple[int, float], ...] = Field(default=(), max_length=1024)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    min_tokens: int = Field(default=0, ge=0, description="no end of sequence or stop before")
    max_tokens: int = Field(default=128, ge=0, description="0 only computes the prompt")
    stop: tuple[str, ...] = Field(default=(), max_length=16)
    stop_token_ids: tuple[int, ...] = Field(default=(), max_length=64)
    ignore_eos: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20)
    score_prompt: bool = False
    schema_text: str | None = None


class Retrieving(BaseModel):
    """How a mode with `rag` finds its passages; what is absent is as the service is set.

    `min_score` is compared with a passage's cosine; with its BM25 score where only words are searched, and with the
    reranker's score where there is one.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"retrieval": "hybrid", "top_k": 3}]}
    )

    top_k: Count | None = Field(default=None, ge=1, le=100, description="passages at most; absent: as set")
    passage_tokens: Count | None = Field(default=None, ge=16, description="token budget for passages")
    retrieval: Retrieval | None = Field(default=None, description="by meaning, by words, or both")
    filters: Filters = Field(default={}, description="metadata of a document: each field this value, or one of these")
    min_score: Number | None = Field(default=None, allow_inf_nan=False, description="passages below are left out")
    documents: tuple[str, ...] | None = Field(default=None, max_length=100, description="only passages of these")
    without_documents: tuple[str, ...] = Field(default=(), max_length=100, description="no passages of these")


class GivenPassage(BaseModel):
    """A passage that the client brings itself, to stand in the prompt as a retrieved one would."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1)
    document: str = Field(default="given", min_length=1, description="what it is cited as")
    heading: tuple[str, ...] = ()


class Grounding(Retrieving):
    """What a mode with `rag` answers from: passages that are searched, or these."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"retrieval": "hybrid", "top_k": 3},
                {"passages": [{"text": "The warranty is 26 months.", "document": "warranty.md"}]},
            ]
        }
    )

    passages: tuple[GivenPassage, ...] | None = Field(
        default=None, max_length=100, description="these, in this order, instead of a search; the mode must have rag"
    )


class Ask(Retrieving):
    """One question, without saying in which mode."""

    query: str = Field(min_length=1)
    max_tokens: Count = Field(default=128, ge=1)
    temperature: Number = Field(default=0.0, ge=0, le=2)
    top_p: Number = Field(default=1.0, gt=0, le=1)
    seed: Count | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: tuple[str, ...] = Field(default=(), max_length=16)
    deadline: Number | None = Field(default=None, gt=0, description="seconds; absent: the server's default")


class QueryRequest(Ask, Grounding):
    """One question in one mode."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "How long is the warranty?", "mode": "support-lora+rag"}]}
    )

    mode: str = "base"


class CompareRequest(Ask):
    """One question in several modes, computed together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "How long is the warranty?", "modes": ["base", "rag"]}]}
    )

    modes: tuple[str, ...] = Field(min_length=1, max_length=32)


class CompareResponse(BaseModel):
    """One answer per mode, in the order asked."""

    answers: list[Answer]


class ErrorBody(BaseModel):
    """The inside of every error answer."""

    message: str
    type: str
    param: str | None = None
    code: str


class ErrorEnvelope(BaseModel):
    """Every error answer."""

    error: ErrorBody
