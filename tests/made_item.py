"""One item of a run, made by hand."""

from typing import Any

from eval.runfile import Item, Reply, Used
from ragtune.wire import Timings


def item(arm: str, number: int, score: float | None, total_ms: float = 10, **fields: Any) -> Item:
    """Of the task `k`, failed if it has no score."""
    reply = Reply(
        id="g",
        text=f"{arm} {score}",
        finish_reason="stop",
        resolved_mode="base",
        versions={},
        usage=Used(prompt_tokens=10, completion_tokens=2),
        timings=Timings(first_token_ms=total_ms / 2, total_ms=total_ms),
    )
    known: dict[str, Any] = {
        "arm": arm,
        "task": "k",
        "example": f"e{number:03}",
        "query": "q",
        "answers": ("x",),
        "reply": None if score is None else reply,
        "error": "failed" if score is None else None,
        "scores": {} if score is None else {"containment": score},
    }
    return Item(**known | fields)
