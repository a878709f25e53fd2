"""Test collections as BEIR lays them out (Thakur et al. 2021): queries, and judgements of which documents answer them.

    queries.jsonl        {"_id": "3", "text": "..."}
    qrels/test.tsv       query-id, corpus-id, score: a header, then a line a judgement
    corpus.jsonl         the documents; not read here, they belong into an index under their `_id`

An example has the documents judged above 0 as gold, their degrees as gains, and no answer.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.errors import RefusedArtifact
from ragtune.examples.example import Example, Words
from ragtune.examples.text_file import TextFile

_QUERIES, _JUDGEMENTS, _USUAL = "queries.jsonl", "qrels", "test.tsv"
_COLUMNS = 3
_WHOLE = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class Beir:
    """What was read, and from which file of judgements."""

    judgements: Path
    examples: list[Example]


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore")  # a split, metadata

    id: Words = Field(alias="_id")
    text: Words


def read_beir(path: Path) -> Beir:
    """The judged queries, in the order of the judgements. `path` is the folder, or a file of judgements in it.

    Of a folder qrels/test.tsv is read, or its only file. Raises RefusedArtifact with the place of what does not fit.
    """
    judgements = _judgements(path) if path.is_dir() else path
    folder = judgements.parent.parent
    gains = _gains(TextFile.read(judgements))
    queries = _queries(TextFile.read(folder / _QUERIES))
    if missing := sorted(gains.keys() - queries.keys()):
        raise RefusedArtifact(f"{judgements} judges query {missing[0]!r}, which is not in {folder / _QUERIES}")
    examples = [
        Example(id=query, query=queries[query], answers=(), gold_documents=tuple(of), gains=of)
        for query, of in gains.items()
        if of
    ]
    if not examples:
        raise RefusedArtifact(f"{judgements} holds no document that answers a query")
    return Beir(judgements, examples)


def _judgements(folder: Path) -> Path:
    files = sorted((folder / _JUDGEMENTS).glob("*.tsv"))
    usual = folder / _JUDGEMENTS / _USUAL
    if usual in files:
        return usual
    if len(files) == 1:
        return files[0]
    names = ", ".join(str(file.relative_to(folder)) for file in files) or f"none in {_JUDGEMENTS}/"
    raise RefusedArtifact(f"{folder} has no {_JUDGEMENTS}/{_USUAL}; name one of its files of judgements: {names}")


def _gains(file: TextFile) -> dict[str, dict[str, int]]:
    """By query, the documents with a degree above 0."""
    found: dict[str, dict[str, int]] = {}
    for number, line in file.lines():
        cells = line.rstrip("\r").split("\t")
        if number == 1 and cells[-1] == "score":
            continue
        if len(cells) != _COLUMNS or not _WHOLE.fullmatch(cells[2].strip()):
            raise file.refused(f"line {number}", "a judgement is a query-id, a corpus-id and a whole number, with tabs")
        of = found.setdefault(cells[0], {})
        if int(cells[2]) > 0:
            of[cells[1]] = int(cells[2])
    return found


def _queries(file: TextFile) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in file.lines():
        try:
            query = _Query.model_validate_json(line)
        except ValidationError as error:
            raise file.unfit(f"line {number}", error, _Query) from error
        found[query.id] = query.text.strip()
    return found
