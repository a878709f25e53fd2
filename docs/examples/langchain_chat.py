"""One question in several modes, with LangChain's `ChatOpenAI`: invoke, stream and batch.

python docs/examples/langchain_chat.py
python docs/examples/langchain_chat.py --base-url http://127.0.0.1:8123/v1 rag knowledge-lora+rag
"""

import argparse
from typing import Any

import openai
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

MODES = ["base", "knowledge-lora", "rag"]  # as `make demo` registers them
QUESTION = "From what depot would a spare Halomere 14 be sent?"
ANOTHER = "Name the owner of the visitor policy."


class ChatRagtune(ChatOpenAI):
    """ChatOpenAI that keeps the field `ragtune`, in `response_metadata`.

    ChatOpenAI drops every field that OpenAI does not have; for the answer alone it is enough as it is. These two hooks
    are where LangChain's own classes for other servers add theirs.
    """

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        fields = response if isinstance(response, dict) else response.model_extra or {}
        result.generations[0].message.response_metadata["ragtune"] = fields["ragtune"]
        return result

    def _convert_chunk_to_generation_chunk(
        self,
        chunk: dict[str, Any],
        default_chunk_class: type,
        base_generation_info: dict[str, Any] | None,
    ) -> ChatGenerationChunk | None:
        piece = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if piece is not None and chunk.get("ragtune"):
            piece.message.response_metadata["ragtune"] = chunk["ragtune"]
        return piece


def main() -> None:
    """Ask in every mode, then stream the last one and give it a batch."""
    parser = argparse.ArgumentParser(description="Ask one question in several modes of ragtune.")
    parser.add_argument("modes", nargs="*", default=MODES, metavar="MODE")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--question", default=QUESTION)
    options = parser.parse_args()
    print(options.question)
    for mode in options.modes:
        print(f"\n== {mode}")
        answer = chat(mode, options.base_url).invoke(options.question)
        print(answer.text)
        show(answer)
    last = chat(options.modes[-1], options.base_url)
    print(f"\n== {options.modes[-1]}, streamed")
    stream(last, options.question)
    print(f"\n== {options.modes[-1]}, a batch")
    for answer in last.batch([options.question, ANOTHER]):
        print(answer.text)


def chat(mode: str, base_url: str) -> ChatRagtune:
    """The mode is the model. `stream_usage` has to be asked for at any address but OpenAI's own."""
    return ChatRagtune(
        model=mode,
        base_url=base_url,
        api_key=SecretStr("none"),  # the client wants a key, ragtune asks for none
        temperature=0,
        max_completion_tokens=48,
        stream_usage=True,
    )


def stream(model: ChatRagtune, question: str) -> None:
    """Print the pieces as they come; their sum is the message `invoke` would have returned."""
    whole: AIMessageChunk | None = None
    for piece in model.stream(question):
        print(piece.text, end="", flush=True)
        whole = piece if whole is None else whole + piece
    print()
    if whole is not None:
        show(whole)


def show(answer: AIMessage) -> None:
    """What the mode resolved to, what that took, and the passages it answered from."""
    extension = answer.response_metadata["ragtune"]
    usage = answer.usage_metadata
    tokens = f"{usage['input_tokens']} + {usage['output_tokens']} tokens" if usage else "no usage"
    print(f"   {extension['mode']}, {tokens}")
    for passage in extension["passages"]:
        print(f"   [{passage['number']}] {passage['document']}: {' > '.join(passage['heading'])}")


if __name__ == "__main__":
    main()
