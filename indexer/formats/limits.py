"""What a document may be. Each limit raises RefusedArtifact with its number, in words for a list of files."""

import math
from collections.abc import Mapping

from indexer.documents import Document, Metadata, Scalar
from ragtune.errors import RefusedArtifact

MOST_CHARACTERS = 32 << 20
_MOST_KEYS = 32
_LONGEST_VALUE = 1024
_LONGEST_NAME = 1024


def checked(document: Document) -> Document:
    """`document` itself. Raises RefusedArtifact for no text, too much of it, or characters that are none."""
    if not document.text.strip():
        raise RefusedArtifact("holds no text")
    if len(document.text) > MOST_CHARACTERS:
        raise RefusedArtifact(f"holds more than {MOST_CHARACTERS >> 20} Mi characters; split it")
    if not document.id.isprintable() or not document.id.strip() or len(document.id) > _LONGEST_NAME:
        raise RefusedArtifact(f"an id is 1 to {_LONGEST_NAME} printable characters")
    check_characters(document.text)
    check_characters(document.title)
    check_metadata(document.metadata)
    return document


def check_characters(text: str) -> None:
    """Raises RefusedArtifact for zero bytes, and for half surrogates, which no file or model can take."""
    if "\0" in text:
        raise RefusedArtifact("not a text: it contains zero bytes")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RefusedArtifact(f"character {error.start} is half of a surrogate pair, which is no character") from error


def check_metadata(metadata: Mapping[str, Scalar]) -> None:
    """Raises RefusedArtifact for more keys, or longer texts, than a passage can carry; and for NaN and infinity."""
    if len(metadata) > _MOST_KEYS:
        raise RefusedArtifact(f"{len(metadata)} metadata fields, {_MOST_KEYS} are the most")
    for key, value in metadata.items():
        if not key.isprintable() or not 0 < len(key) <= 64:
            raise RefusedArtifact(f"a metadata field's name is 1 to 64 printable characters, not {key[:80]!a}")
        if isinstance(value, str):
            check_characters(value)
            if len(value) > _LONGEST_VALUE:
                raise RefusedArtifact(f"metadata {key}: {len(value)} characters, {_LONGEST_VALUE} are the most")
        elif isinstance(value, float) and not math.isfinite(value):
            raise RefusedArtifact(f"metadata {key}: not a finite number")
        elif isinstance(value, int) and abs(value) >= 1 << 63:
            raise RefusedArtifact(f"metadata {key}: a whole number of more than 64 bits; write it as a text")


def fitting(metadata: Mapping[str, Scalar]) -> Metadata:
    """The fields of `metadata` that are within the limits, for a format whose text has them all anyway."""
    kept: Metadata = {}
    for key, value in metadata.items():
        if len(kept) == _MOST_KEYS:
            break
        try:
            check_metadata({key: value})
        except RefusedArtifact:
            continue
        kept[key] = value
    return kept
