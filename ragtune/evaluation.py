"""An evaluation as a job: what it is asked, what is known of it before it begins, and what it leaves.

The service writes the first, the process at work the last; the folder of a run is `runs/NAME` in the home.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, JsonValue

from ragtune.job import Kind

JOB: Kind = "evaluation"
Format = Literal["json", "html", "markdown"]
FORMATS: tuple[Format, ...] = get_args(Format)
REPORTS: dict[Format, str] = {"json": "report.json", "html": "report.html", "markdown": "report.md"}
"""The files of a report, beside the run they are made of."""


class EvaluationSpec(BaseModel):
    """What an evaluation is asked to do: the suite, whose paths are absolute, and the name of the run's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: dict[str, JsonValue]
    run: str


class ToCheck(BaseModel):
    """A suite, and the folders its files have to be in."""

    suite: dict[str, JsonValue]
    roots: tuple[str, ...]


class Refusal(BaseModel):
    """An error of the tree, by its code."""

    code: str
    message: str
    param: str | None = None


class Checked(BaseModel):
    """What is wrong with a suite; or how many questions it asks, and its modes by the fields that name them."""

    refusal: Refusal | None = None
    questions: int = 0
    modes: dict[str, str] = {}


class Summary(BaseModel):
    """What an evaluation came to. `verdict` are sentences for people; the report has the evidence. `passed`: every gate
    of the suite was; None where it has none."""

    model_config = ConfigDict(frozen=True)

    run: str
    questions: int
    failed: int
    verdict: tuple[str, ...]
    passed: bool | None = None
