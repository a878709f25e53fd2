"""Do fifty JSON schemas always get valid output at temperature 1 in a mixed batch, and what do their neighbours pay?

A real server on SmolLM2. First every schema with every seed, 16 at a time beside 16 requests without a schema; each
answer is validated with exact decimals. `valid_share` is of all requests, `valid_share_of_ended` leaves out the
`truncated` ones, which `max_tokens` cut short. Then the tokens per second of 16 free rows beside 16 rows held busy by
schemas, over those beside 16 more free rows: interleaved pairs of equal prompts and lengths after one that warms up.

    python benchmarks/structured_output.py [--seeds 2] [--pairs 5] [--tokens 192] [--max-tokens 1500]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from json_schemas import CASES, Case, Schema
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from ragtune.commands import Commands

ROWS = 16  # of each kind
OTHERS_TOKENS = 40  # a neighbour begins anew this often, so that reading its schema is part of the price
FORMATS = FormatChecker(Draft202012Validator.FORMAT_CHECKER.checkers)  # and two that it leaves to a package
FORMATS.checks("date-time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(text)))
FORMATS.checks("time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(f"2024-01-01T{text}")))


async def ask(client: httpx.AsyncClient, question: str, tokens: int, schema: Schema | None = None, **more: Any) -> Any:
    """The whole answer to one chat request at temperature 1. Raises RuntimeError if it is refused or fails."""
    body = {"model": "base", "messages": [{"role": "user", "content": question}], "temperature": 1} | more
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": schema, "strict": True},
        }
    response = await client.post("/v1/chat/completions", json=body | {"max_tokens": tokens})
    if response.status_code != 200:
        raise RuntimeError(f"{response.status_code} for {question!r}: {response.text}")
    return response.json()


def verdict(case: Case, choice: dict[str, Any]) -> str:
    """valid, truncated or invalid. Fractions are decimals on both sides: as floats 1.11 is no multiple of 0.01."""
    schema = json.loads(json.dumps(case.schema), parse_float=Decimal)
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    try:
        validator.validate(json.loads(choice["message"]["content"], parse_float=Decimal))
    except (ValueError, ValidationError) as error:
        return "truncated" if choice["finish_reason"] == "length" else f"invalid ({error})"
    return "valid"


def endless(case: Case) -> Schema:
    """A hundred of the same: no row can end before its tokens are used up, so both sides of a pair work equally."""
    return {"$defs": case.schema.get("$defs", {}), "type": "array", "items": case.schema, "minItems": 100}


async def again(client: httpx.AsyncClient, made: list[int], question: str, schema: Schema | None = None) -> None:
    """The same request until cancelled; appends the number of tokens of each answer to `made`."""
    while True:
        answer = await ask(client, question, OTHERS_TOKENS, schema, ignore_eos=schema is None)
        made.append(answer["usage"]["completion_tokens"])


async def validity(client: httpx.AsyncClient, args: argparse.Namespace) -> Counter[str]:
    """The verdicts on every schema with every seed, the free rows beside them never pausing."""
    turn, verdicts = asyncio.Semaphore(ROWS), Counter[str]()

    async def constrained(case: Case, seed: int) -> None:
        async with turn:
            answer = await ask(client, case.question, args.max_tokens, case.schema, seed=seed)
        found = verdict(case, answer["choices"][0])
        print(f"{case.name}, seed {seed}: {found}", file=sys.stderr)
        verdicts[found.split()[0]] += 1

    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(again(client, [], f"Tell me story number {row}.")) for row in range(ROWS)]
        await asyncio.gather(*(constrained(case, seed) for seed, case in enumerate(CASES * args.seeds)))
        for task in beside:
            task.cancel()
    return verdicts


async def rates(client: httpx.AsyncClient, tokens: int, pair: int, schemas: bool) -> tuple[float, float]:
    """Tokens per second of the free rows, and of the others beside them, with or without schemas."""
    cases, made, started = (CASES * (pair + 2))[pair * ROWS :][:ROWS], list[int](), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        others = [again(client, made, case.question, endless(case) if schemas else None) for case in cases]
        beside = [group.create_task(other) for other in others]
        free = (ask(client, f"Tell me story number {row}.", tokens, ignore_eos=True) for row in range(ROWS))
        answers = await asyncio.gather(*free)
        took = time.perf_counter() - started
        for task in beside:
            task.cancel()
    await asyncio.sleep(0.5)  # until the server has noticed who went away
    return sum(answer["usage"]["completion_tokens"] for answer in answers) / took, sum(made) / took


async def measure(url: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both parts; the figures."""
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        verdicts = await validity(client, args)
        measured: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for pair in range(args.pairs + 1):  # the first warms up and is not counted
            for schemas in (True, False) if pair % 2 else (False, True):
                rate = await rates(client, args.tokens, pair, schemas)
                print(f"pair {pair}, {schemas=}: {rate[0]:.0f} free, {rate[1]:.0f} others", file=sys.stderr)
                measured[schemas] += [rate] if pair else []
    free, others = ([a[i] / max(1, b[i]) for a, b in zip(*measured.values(), strict=True)] for i in (0, 1))
    beside, without = (round(statistics.median(rate for rate, _ in measured[schemas]), 1) for schemas in (True, False))
    return {
        "schemas": len(CASES),
        "requests": verdicts.total(),
        "valid_share": verdicts["valid"] / max(1, verdicts.total()),
        "valid_share_of_ended": verdicts["valid"] / max(1, verdicts["valid"] + verdicts["invalid"]),
        "truncated": verdicts["truncated"],
        "free_rows_ratio": {f.__name__: round(f(free), 3) for f in (statistics.median, min, max)},
        "other_rows_ratio": round(statistics.median(others), 3),
        "free_tokens_per_s_beside_constrained": beside,
        "free_tokens_per_s_without": without,
    }


def main() -> None:
    """A server of its own; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("--seeds", 2), ("--pairs", 5), ("--tokens", 192), ("--max-tokens", 1500)):
        parser.add_argument(option, type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_DEADLINE": "1800"}
        with Commands(environ).serve(folder / "log") as url:
            figures = asyncio.run(measure(url, args))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
