"""Examples as JSON Lines, every field as it is named here.

{"id": "k-17", "task": "knowledge", "query": "...", "answers": ["26 months"], "gold_documents": ["manuals/a.md"]}
"""

from collections.abc import Iterator

from pydantic import ValidationError

from ragtune.examples.example import Example
from ragtune.examples.text_file import TextFile


def read_lines(file: TextFile) -> Iterator[tuple[str, Example]]:
    """Every example with its place. Raises RefusedArtifact with the number of the first bad line."""
    for number, line in file.lines():
        try:
            yield f"line {number}", Example.model_validate_json(line)
        except ValidationError as error:
            raise file.unfit(f"line {number}", error, Example) from error
