"""What a generating route does at its end: keep the exchanges for those who may want to judge them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Request

from ragtune.feedback import Exchange
from ragtune.wire import Answer
from service.access import tenant
from service.border import request_id
from service.parts import Parts
from service.pipeline import Prepared


def remember(request: Request, prepared: Sequence[Prepared], answers: Sequence[Answer], parts: Parts) -> None:
    """Keep the answers of a request with what was asked, in memory alone."""
    if not parts.exchanges.most:
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    parts.exchanges.keep(
        [
            Exchange(
                id=answer.id,
                request_id=request_id(request),
                choice=choice,
                time=now,
                tenant=tenant(request),
                mode=answer.mode,
                resolved_mode=answer.resolved_mode,
                versions=answer.versions,
                history=each.ask.messages[:-1],
                query=_query(each, parts),
                text=answer.text,
                documents=tuple(dict.fromkeys(passage.document for passage in answer.passages)),
                abstained=answer.retrieval is not None and answer.retrieval.abstained,
            )
            for choice, (each, answer) in enumerate(zip(prepared, answers, strict=True))
            if each.ask.max_tokens != 0  # nothing was to be answered, only the prompt to be scored
        ]
    )


def _query(prepared: Prepared, parts: Parts) -> str:
    """The last message, or the raw prompt, whatever passages were searched by."""
    ask = prepared.ask
    return ask.messages[-1].content if ask.prompt_ids is None else parts.tokenizer.decode(ask.prompt_ids)
