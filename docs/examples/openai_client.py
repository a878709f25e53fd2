"""One question in several modes, with the official `openai` client: the mode is the model.

python docs/examples/openai_client.py
python docs/examples/openai_client.py --base-url http://127.0.0.1:8123/v1 rag knowledge-lora+rag
"""

import argparse
from typing import Any

from openai import OpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam

MODES = ["base", "knowledge-lora", "rag"]  # as `make demo` registers them
QUESTION = "From what depot would a spare Halomere 14 be sent?"


def main() -> None:
    """Ask in every mode, then stream the last one."""
    parser = argparse.ArgumentParser(description="Ask one question in several modes of ragtune.")
    parser.add_argument("modes", nargs="*", default=MODES, metavar="MODE")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--question", default=QUESTION)
    options = parser.parse_args()
    client = OpenAI(base_url=options.base_url, api_key="none")  # the client wants a key, ragtune asks for none
    print(options.question)
    for mode in options.modes:
        ask(client, mode, options.question)
    stream(client, options.modes[-1], options.question)


def ask(client: OpenAI, mode: str, question: str) -> None:
    """The whole answer at once."""
    print(f"\n== {mode}")
    answer = client.chat.completions.create(model=mode, messages=user(question), max_tokens=48, temperature=0)
    print(answer.choices[0].message.content)
    show(ragtune(answer), answer.usage)


def stream(client: OpenAI, mode: str, question: str) -> None:
    """The same, piece by piece; `ragtune` comes with the last piece and the usage after it."""
    print(f"\n== {mode}, streamed")
    extension: dict[str, Any] = {}
    usage: CompletionUsage | None = None
    for chunk in client.chat.completions.create(
        model=mode,
        messages=user(question),
        max_tokens=48,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        extension = ragtune(chunk) or extension
        usage = chunk.usage or usage
    print()
    show(extension, usage)


def user(question: str) -> list[ChatCompletionMessageParam]:
    """A conversation of one message."""
    return [{"role": "user", "content": question}]


def ragtune(response: Any) -> dict[str, Any]:
    """What ragtune adds to an OpenAI answer; the client keeps fields it does not know in `model_extra`."""
    return (response.model_extra or {}).get("ragtune") or {}


def show(extension: dict[str, Any], usage: CompletionUsage | None) -> None:
    """What the mode resolved to, what that took, and the passages it answered from."""
    tokens = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else "no usage"
    print(f"   {extension['mode']}, {tokens}")
    for passage in extension["passages"]:
        print(f"   [{passage['number']}] {passage['document']}: {' > '.join(passage['heading'])}")


if __name__ == "__main__":
    main()
