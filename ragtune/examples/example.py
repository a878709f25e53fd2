"""One labelled record, for training and for evaluation."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ragtune.prompt import Message

UNANSWERABLE = "unanswerable"  # the slice whose right answer is to have none


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Words = Annotated[str, AfterValidator(_not_blank)]


class Example(BaseModel):
    """One labelled record. Any of `answers` counts as right, the first is learnt; `slice` names a part that is
    reported apart.

    `history` is the conversation before the query. `context` is a text that holds the answer; where no index gives
    passages it stands before the query. `gold_documents` are the ids of the documents that hold it. `choices` are what
    a multiple choice is among, the first of `answers` one of them; `gains` are degrees of relevance of documents, where
    they are graded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Words
    query: Words
    answers: tuple[Words, ...] = Field(min_length=1)
    task: Words = "default"
    gold_documents: tuple[str, ...] = ()
    slice: str = ""
    history: tuple[Message, ...] = ()
    context: str = ""
    choices: tuple[Words, ...] = ()
    gains: dict[str, int] = {}

    @property
    def asked(self) -> str:
        """What is sent where no index gives passages: the context, an empty line, the query."""
        return f"{self.context}\n\n{self.query}" if self.context else self.query
