"""/tokenize and /detokenize, as vLLM has them."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from ragtune.errors import InvalidRequest
from ragtune.wire import Sampling
from service.access import needs, tenant
from service.border import request_id
from service.documented import refusals
from service.limits import check_length, check_vocabulary
from service.openai.requests import ChatMessage, refuse_in_messages, refuse_known
from service.parts import Parts
from service.pipeline import Ask, compose, pinned

_MODE = Field(default="base", min_length=1, max_length=512, description="the mode")
_NOT_HERE = {
    "add_generation_prompt": (True,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "parse_special": (False,),
    "tools": ([],),
    "with_pieces": (False,),
}


class TokenizeRequest(BaseModel):
    """POST /tokenize: a raw prompt, or messages as the mode would render them."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"model": "base", "prompt": "How long is the warranty?", "return_token_strs": True},
                {"model": "base", "messages": [{"role": "user", "content": "How long is the warranty?"}]},
            ]
        },
    )

    model: str = _MODE
    prompt: str | None = Field(default=None, description="raw text; passages of the mode are not put before it")
    messages: list[ChatMessage] | None = Field(
        default=None, min_length=1, max_length=4096, description="rendered with the mode's template and passages"
    )
    add_special_tokens: StrictBool | None = Field(
        default=None, description="whether a raw prompt gets its opening token; absent: it does"
    )
    return_token_strs: StrictBool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either prompt or messages")
        return self


class TokenizeResponse(BaseModel):
    """Token ids, and their names in the vocabulary if they were asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"count": 2, "max_model_len": 4096, "tokens": [3, 17], "token_strs": ["How", "Ġlong"]}]
        }
    )

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(BaseModel):
    """POST /detokenize."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"model": "base", "tokens": [1206, 986, 314]}]}
    )

    model: str = _MODE
    tokens: list[StrictInt] = Field(max_length=2**20)


class DetokenizeResponse(BaseModel):
    """The text, control tokens included."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "How long is"}]})

    prompt: str


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["tokens"])

    @routes.post("/tokenize", dependencies=[needs("query")], responses=refusals(400, 404, 413, 422))
    async def tokenize(body: TokenizeRequest, request: Request) -> TokenizeResponse:
        """Show the tokens of a text, or the whole prompt that messages become in a mode."""
        refuse_known(body.model_extra, _NOT_HERE)
        if body.messages is not None:
            refuse_in_messages(body.messages)
            if body.add_special_tokens:
                raise InvalidRequest(
                    "messages have what the chat template writes, and nothing is added", param="add_special_tokens"
                )
            messages = tuple(message.flat() for message in body.messages)
            ask = Ask(body.model, Sampling(), messages, request_id=request_id(request), namespace=tenant(request))
            with pinned(body.model, parts) as configuration:
                ids = list((await compose(ask, configuration, parts)).prompt.token_ids)
        else:
            parts.catalog.resolve(body.model)
            check_length(len(body.prompt or ""), "prompt", parts)
            ids = parts.tokenizer.encode_completion(body.prompt or "")
            if body.add_special_tokens is False:
                ids = list(parts.tokenizer.without_opening(ids))
        return TokenizeResponse(
            count=len(ids),
            max_model_len=parts.engine.info.max_model_len,
            tokens=ids,
            token_strs=parts.tokenizer.names(ids) if body.return_token_strs else None,
        )

    @routes.post("/detokenize", dependencies=[needs("query")], responses=refusals(400, 404, 413, 422))
    async def detokenize(body: DetokenizeRequest) -> DetokenizeResponse:
        """Show the text of token ids."""
        parts.catalog.resolve(body.model)
        check_vocabulary(body.tokens, "tokens has", "tokens", parts)
        if not all(token < parts.tokenizer.vocab_size for token in body.tokens):
            raise InvalidRequest("tokens has ids that stand for no text", param="tokens")
        return DetokenizeResponse(prompt=parts.tokenizer.decode_all(body.tokens))

    return routes
