"""Conversations as JSON Lines, as chat fine-tuning has them: every assistant's turn is an example.

{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"},
              {"role": "assistant", "content": "Hi."}]}

Besides `messages` a line may hold `id` and `task`. What stands before the question is the example's history.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ragtune.examples.example import Example, Words
from ragtune.examples.text_file import TextFile
from ragtune.prompt import Message


def _flat(content: object) -> object:
    """A list of text parts as one text, as the service joins them."""
    if content is None:
        raise ValueError("a turn without text, such as a tool call, cannot be learnt")
    return "".join(map(_part, content)) if isinstance(content, list) else content


def _part(part: object) -> str:
    if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != "text":
        raise ValueError('only parts like {"type": "text", "text": "..."} can be read')
    if not isinstance(part["text"], str):
        raise ValueError("the text of a part is no text")
    return part["text"]


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Words, BeforeValidator(_flat)]

    def message(self) -> Message:
        return Message(role="system" if self.role == "developer" else self.role, content=self.content)


class _Conversation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    messages: list[_Turn] = Field(min_length=2)
    id: Words | None = None
    task: Words | None = None


def read_messages(file: TextFile) -> Iterator[tuple[str, Example]]:
    """Every assistant's turn with its place. Raises RefusedArtifact with the number of the first bad line.

    An id is the line's, or the file's name and the line; from the second answer of a line on its number follows.
    """
    for number, line in file.lines():
        place = f"line {number}"
        try:
            conversation = _Conversation.model_validate_json(line)
        except ValidationError as error:
            raise file.unfit(place, error, _Conversation) from error
        name = conversation.id or f"{file.path.name}:{number}"
        for example in _turns(conversation, name, file, place):
            yield place, example


def _turns(conversation: _Conversation, name: str, file: TextFile, place: str) -> Iterator[Example]:
    said = [turn.message() for turn in conversation.messages]
    if said[-1].role != "assistant":
        raise file.refused(place, "messages: the last turn must be the assistant's, or nothing is learnt from it")
    answers = [at for at, message in enumerate(said) if message.role == "assistant"]
    for count, at in enumerate(answers, start=1):
        if at == 0 or said[at - 1].role != "user":
            raise file.refused(place, f"messages.{at}: an assistant's turn must follow one of the user")
        example = Example(
            id=name if count == 1 else f"{name}.{count}",
            query=said[at - 1].content,
            answers=(said[at].content,),
            history=tuple(said[: at - 1]),
        )
        yield example.model_copy(update={"task": conversation.task}) if conversation.task else example
