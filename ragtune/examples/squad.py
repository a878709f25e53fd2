"""SQuAD's JSON, version 1.1 and 2.0: questions on the paragraphs of articles (Rajpurkar et al. 2016, 2018).

A paragraph is the context of its questions. Questions marked `is_impossible` form the slice `unanswerable`.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ragtune.examples.example import UNANSWERABLE, Example, Words
from ragtune.examples.text_file import Loc, TextFile

_WORDS = {"data": "article", "paragraphs": "paragraph", "qas": "question", "answers": "answer"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Answer(_Part):
    text: Words
    answer_start: int = -1


class _Question(_Part):
    id: Words | int
    question: Words
    answers: list[_Answer] = []
    is_impossible: bool = False
    plausible_answers: JsonValue = None


class _Paragraph(_Part):
    context: Words
    qas: list[_Question]


class _Article(_Part):
    title: str = ""
    paragraphs: list[_Paragraph]


class _Squad(_Part):
    version: JsonValue = None
    data: list[_Article] = Field(min_length=1)


def read_squad(file: TextFile, unanswerable: str) -> Iterator[tuple[str, Example]]:
    """Every question with its place, `unanswerable` as the answer where there is none.

    Raises RefusedArtifact naming article, paragraph and question, or the line where it is no JSON.
    """
    try:
        squad = _Squad.model_validate_json(file.text)
    except ValidationError as error:
        raise file.unfit("as SQuAD", error, _Squad, _place) from error
    for a, article in enumerate(squad.data):
        for p, paragraph in enumerate(article.paragraphs):
            for q, asked in enumerate(paragraph.qas):
                place = _place(("data", a, "paragraphs", p, "qas", q))
                yield place, _example(asked, paragraph.context, unanswerable, file, place)


def _example(asked: _Question, context: str, unanswerable: str, file: TextFile, place: str) -> Example:
    answers = tuple(dict.fromkeys(answer.text for answer in asked.answers))
    if asked.is_impossible:
        answers = (unanswerable,)
    elif not answers:
        raise file.refused(place, "answers: there is none, and the question is not marked is_impossible")
    return Example(
        id=str(asked.id),
        query=asked.question.strip(),
        answers=answers,
        slice=UNANSWERABLE if asked.is_impossible else "",
        context=context,
    )


def _place(loc: Loc) -> str:
    """Where in the file: `article 1, paragraph 2, question 3`, and the field in it."""
    named, rest = [], list(loc)
    while len(rest) > 1 and rest[0] in _WORDS and isinstance(rest[1], int):
        named.append(f"{_WORDS[str(rest[0])]} {rest[1] + 1}")
        rest = rest[2:]
    field = str(rest[0]) if rest else ""  # what follows a field's name is which of its types did not fit
    return ", ".join(named) + (f": {field}" if named and field else field)
