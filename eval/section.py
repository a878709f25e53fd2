"""A section of a suite: what is misspelt in it fails at once."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen; a field that nobody knows is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
