"""The page of a training's bill, in Markdown, and the files of its run folder that people read."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from adapters.bill import (
    NO_BILL,
    Rows,
    cost_rows,
    provenance_rows,
    quality_rows,
    searched_rows,
)
from adapters.curve import NUMBERS_FILE, PLOT_FILE, draw, write_numbers
from adapters.fingerprint import file_sha256
from adapters.interference import interference_rows
from adapters.manifest import Bill, CurvePoint, TrainingRecord

PAGE_FILE = "bill.md"
_HASHED = (".json", ".safetensors", ".csv", ".svg")


def write_bill(record: TrainingRecord, folder: Path, curve: Sequence[CurvePoint], cache: Path) -> None:
    """Write `loss.svg`, `curve.csv` and last `bill.md` into the run's `folder`, which holds everything else already.

    `curve` is the whole one; `cache` is where the plotting library keeps its list of fonts.
    """
    name, best = str(record.recipe.get("name", record.method)), record.bill.best_step if record.bill else record.steps
    write_numbers(curve, folder / NUMBERS_FILE)
    draw(curve, best, f"{name}: loss while training", folder / PLOT_FILE, cache)
    (folder / PAGE_FILE).write_text(bill_page(record, folder), encoding="utf-8")


def bill_page(record: TrainingRecord, folder: Path, title: str | None = None) -> str:
    """The page about the run or version whose files are in `folder`; the plot is linked where it is there."""
    parts = [f"# Bill of {_cell(title or str(record.recipe.get('name', record.method)))}"]
    parts.append(f"{_cell(record.method)} on {_cell(record.base_id)}")
    if record.bill is None:
        parts.append(f"The bill: {NO_BILL}.")
    else:
        parts += _of_bill(record.bill, record.steps)
    if (folder / PLOT_FILE).is_file():
        parts += ["## Loss", f"![training and validation loss by step]({PLOT_FILE})"]
        if (folder / NUMBERS_FILE).is_file():
            parts.append(f"The numbers are in [{NUMBERS_FILE}]({NUMBERS_FILE}).")
    parts += ["## How it came about", _pairs(provenance_rows(record))]
    parts += ["## Files", _table(("file", "bytes", "sha256"), _files(folder))]
    parts += ["## Recipe as written", _fenced(json.dumps(record.recipe, indent=2, ensure_ascii=False))]
    return "\n\n".join(parts) + "\n"


def _of_bill(bill: Bill, steps: int) -> list[str]:
    parts = ["## Cost", _pairs(cost_rows(bill)), "## Quality", _pairs(quality_rows(bill, steps))]
    if bill.searched:
        columns = ("learning rate", "steps", "validation loss")
        parts += ["## Learning rates tried", _table(columns, searched_rows(bill.searched))]
    if len(bill.tasks) > 1:
        said = "Validation losses, in nats a token; a plus is what training together costs the task."
        parts += ["## Tasks", _table(("task", "drawn", "interference"), interference_rows(bill.tasks)), said]
    return parts


def _files(folder: Path) -> Iterable[tuple[str, str, str]]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _HASHED:
            yield path.name, f"{path.stat().st_size:,}", file_sha256(path)


def _pairs(rows: Rows) -> str:
    return _table(("", ""), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Names of tasks and models are others' words: none of them ends a cell or becomes markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}json\n{text}\n{fence}"
