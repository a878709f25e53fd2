"""The official `openai` client against every kind of mode, over a real socket."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionUserMessageParam

MODES = [
    "base",
    "tiny-llama",
    "prompt:brief",
    "rag",
    "rag:handbook@1",
    "my-lora",
    "tiny-llama:my-lora",
    "my-soft",
    "my-prefix",
    "my-lora+my-soft",
    "my-lora+rag",
    "my-lora+my-prefix+prompt:shouting+rag:handbook",
]
RAW = [mode for mode in MODES if "rag" not in mode and "prompt:" not in mode]
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "Hello zzz"}


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:  # type: ignore[override]
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("mode", MODES)
async def test_chat_whole_and_streamed(client: AsyncOpenAI, mode: str) -> None:
    whole = await client.chat.completions.create(model=mode, messages=[QUESTION], max_tokens=300, temperature=0)
    assert whole.model == mode
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None and whole.usage.total_tokens > whole.usage.completion_tokens > 0
    stream = await client.chat.completions.create(
        model=mode,
        messages=[QUESTION],
        max_tokens=300,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert ("zzz zzz" in text) == ("rag" in mode)
    assert chunks[-1].usage == whole.usage
    extension = next(chunk.ragtune for chunk in chunks if getattr(chunk, "ragtune", None))
    assert whole.ragtune["versions"] == extension["versions"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", RAW)
async def test_completions_whole_and_streamed(client: AsyncOpenAI, mode: str) -> None:
    whole = await client.completions.create(model=mode, prompt="Once upon", max_tokens=6, seed=1)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("Once u", "length")
    stream = await client.completions.create(model=mode, prompt="Once upon", max_tokens=6, seed=1, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Once u"
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_several_prompts_and_token_ids(client: AsyncOpenAI) -> None:
    several = await client.completions.create(model="base", prompt=["ab", "cd"], max_tokens=2)
    assert [choice.text for choice in several.choices] == ["ab", "cd"]
    ids = await client.completions.create(model="base", prompt=[70, 71], max_tokens=2)
    assert ids.usage is not None and ids.usage.prompt_tokens == 2


async def test_models_are_listed_and_retrieved(client: AsyncOpenAI) -> None:
    ids = [model.id async for model in client.models.list()]
    assert {"tiny-llama", "my-lora", "rag:handbook"} <= set(ids)
    assert (await client.models.retrieve("my-lora")).id == "my-lora"


async def test_errors_arrive_as_the_clients_own(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'my-lora'") as unknown:
        await client.chat.completions.create(model="my-lra", messages=[QUESTION])
    assert (unknown.value.code, unknown.value.param) == ("unknown_name", "model")
    with pytest.raises(openai.BadRequestError, match="1024") as long:
        await client.completions.create(model="base", prompt="x" * 2000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="token ids outside"):
        await client.completions.create(model="base", prompt=[-1, 5])
    with pytest.raises(openai.UnprocessableEntityError):
        await client.chat.completions.create(model="my-lora+other-lora", messages=[QUESTION])
