"""What is given must lie apart from what is made of it: else files are overwritten, or held-out answers indexed."""

from collections.abc import Iterable
from pathlib import Path

from ragtune.errors import RefusedArtifact

INDEXED = frozenset((".md", ".markdown", ".txt", ".html", ".htm", ".pdf", ".docx", ".csv", ".jsonl"))
"""Suffixes of files that an index reads; a test holds them against those of the indexer."""


def check_apart(folder: Path, docs: Path, examples: Iterable[Path], templates: Iterable[Path] = ()) -> None:
    """Raises RefusedArtifact if something given lies in the bake-off's `folder`, or if that folder or examples that
    would be indexed lie in `docs`."""
    here, documents = folder.resolve(), docs.resolve()
    named = [path.resolve() for path in examples]
    for path in (documents, *named, *(path.resolve() for path in templates)):
        if path.is_relative_to(here):
            raise RefusedArtifact(f"{path} lies in {here}, where the bake-off writes; name another --folder")
    if here.is_relative_to(documents):
        raise RefusedArtifact(
            f"{here} lies in {documents}, so that the held-out answers would be indexed; name another --folder"
        )
    for path in named:
        if path.is_relative_to(documents) and path.suffix.lower() in INDEXED:
            raise RefusedArtifact(f"{path} lies in {documents} and would be indexed, answers included; move it")
