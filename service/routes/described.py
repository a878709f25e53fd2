"""What the routes of versioned resources share: how a version is shown, named and given by path."""

from pathlib import Path
from typing import Annotated, Generic, TypeVar

from fastapi import Body
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from ragtune.versions import Version

M = TypeVar("M", bound=BaseModel)
AUTHOR = "a key's name, `local` over HTTP without keys, an account for a command; empty where nobody is known"
Name = Annotated[
    str, PathParameter(description="a name, where versions can be read also NAME@VERSION", examples=["support"])
]


class Described(BaseModel, Generic[M]):
    """A version as shown over HTTP."""

    name: str
    version: str
    current: bool
    aliases: list[str]
    created: str
    author: str = Field(description=AUTHOR)
    manifest: M

    @classmethod
    def of(cls, version: Version[M]) -> "Described[M]":
        """From a version of the store."""
        return cls(
            name=version.name,
            version=str(version),
            current=version.current,
            aliases=list(version.aliases),
            created=version.created,
            author=version.author,
            manifest=version.manifest,
        )


class Deleted(BaseModel):
    """What a delete removed."""

    name: str
    versions: list[str]


class FromPath(BaseModel):
    """A folder on the server's machine, inside an allowed root."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "/data/support"}]})

    path: Path


class Rollback(BaseModel):
    """What is to go back; no body is as good as an empty object."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"alias": "prod"}, {}]})

    alias: str | None = Field(default=None, description="an alias; absent: what the name in the path means")


GoesBack = Annotated[Rollback, Body(default_factory=Rollback)]
