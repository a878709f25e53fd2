"""One labelled record, for training and for evaluation."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

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
    they are graded. Only where such documents are named may there be no answer: then it is for retrieval alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Words
    query: Words
    gold_documents: tuple[str, ...] = ()
    gains: dict[str, int] = {}
    answers: tuple[Words, ...]  # after the documents, which its validator looks at
    task: Words = "default"
    slice: str = ""
    history: tuple[Message, ...] = ()
    context: str = ""
    choices: tuple[Words, ...] = ()

    @field_validator("answers")
    @classmethod
    def _answered(cls, answers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not answers and not (info.data.get("gold_documents") or info.data.get("gains")):
            raise ValueError("Tuple should have at least 1 item, or the example gold_documents")
        return answers

    @property
    def asked(self) -> str:
        """What is sent where no index gives passages: the context, an empty line, the query."""
        return f"{self.context}\n\n{self.query}" if self.context else self.query
