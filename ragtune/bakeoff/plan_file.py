"""The plan as it is kept: an interrupted bake-off goes on with it, and plans nothing anew with the time left."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ragtune.bakeoff.plan import Plan


class _Kept(BaseModel):
    inputs: str
    plan: Plan


@dataclass(frozen=True)
class PlanFile:
    """One file, for plans made from these `inputs`."""

    path: Path
    inputs: str

    def read(self) -> Plan | None:
        """The plan made from the same inputs, if there is one."""
        try:
            kept = _Kept.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return None  # no plan, or one of a ragtune that planned otherwise
        return kept.plan if kept.inputs == self.inputs else None

    def write(self, plan: Plan) -> None:
        """Keep the plan in the place of the one before."""
        beside = self.path.with_suffix(".new")
        beside.write_text(_Kept(inputs=self.inputs, plan=plan).model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.rename(self.path)
