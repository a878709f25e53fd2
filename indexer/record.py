"""What an index version holds of a passage and of a document, as written on one line each."""

from pydantic import BaseModel, ConfigDict, Field

from ragtune.wire import Passage, Value


class Record(BaseModel):
    """A passage as stored. `gap` is the white space between it and the passage before, if it `joins` that one.

    `key` is a hash of what was embedded: an equal key has an equal vector.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    document: str
    tenant: str = ""
    revision: int = 0
    heading: tuple[str, ...] = ()
    text: str
    start: int
    end: int
    joins: bool = False
    gap: str = ""
    key: str = ""

    @property
    def searched_text(self) -> str:
        """What words are looked for in, and what a reranker reads: the heading path, then the text."""
        return f"{' > '.join(self.heading)}\n{self.text}" if self.heading else self.text


class IndexedDocument(BaseModel):
    """A document as stored: where it came from, and what filters compare."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str = ""
    revision: int = 0
    title: str = ""
    source: str = ""
    sha256: str = ""
    metadata: dict[str, Value] = {}


class Found(Passage):
    """A passage as the search found it, with what joining it to its neighbours takes; the wire does not carry that."""

    tenant: str = Field(default="", exclude=True)
    revision: int = Field(default=0, exclude=True)
    joins: bool = Field(default=False, exclude=True)
    gap: str = Field(default="", exclude=True)
