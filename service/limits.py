"""What is refused by its size or kind alone, before work is spent on it."""

import asyncio
from collections.abc import Sequence

from ragtune.errors import ContextLengthExceeded, DeadlineExceeded, InvalidRequest
from service.aside import Aside
from service.engine.grammar import check_schema
from service.parts import Parts

_COMPILERS = Aside(2, "schema-check")


def check_vocabulary(ids: Sequence[int], what: str, param: str, parts: Parts) -> None:
    """Raises InvalidRequest for ids the model does not have."""
    vocabulary = parts.engine.info.vocab_size
    if not all(0 <= token < vocabulary for token in ids):
        raise InvalidRequest(f"{what} token ids outside 0..{vocabulary - 1}", param=param)


async def check_enforceable(schema_text: str, parts: Parts) -> None:
    """Raises InvalidRequest for a schema that cannot be enforced, DeadlineExceeded if to find out takes too long.

    In threads of its own, as compiling may take a while, and searches must not wait for it.
    """
    loop, deadline = asyncio.get_running_loop(), parts.settings.deadline
    try:
        async with asyncio.timeout(deadline):
            await loop.run_in_executor(_COMPILERS, check_schema, schema_text, parts.tokenizer.vocabulary)
    except TimeoutError as error:
        raise DeadlineExceeded(f"the schema was not compiled within {deadline:g} s") from error
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param="response_format") from error


def check_length(characters: int, param: str, parts: Parts) -> None:
    """Raises ContextLengthExceeded for text that cannot fit however it is tokenised: reading it takes seconds."""
    most = parts.engine.info.max_model_len * parts.tokenizer.longest
    if characters > most:
        window = parts.engine.info.max_model_len
        raise ContextLengthExceeded(
            f"{characters} characters never fit into this model's window of {window} tokens", param=param
        )


def check_size(wanted: int, parts: Parts) -> None:
    """Raises InvalidRequest for more answers than ever fit: a 429 would be tried again."""
    most = parts.settings.max_running + parts.settings.max_waiting
    if wanted > most:
        text = f"{wanted} answers asked for at once, this server takes {most}; send fewer a request"
        raise InvalidRequest(text, param="n")
