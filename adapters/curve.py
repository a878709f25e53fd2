"""The loss curve of a training: as a picture, as numbers, and thinned for the bill.

The picture is the same bytes for the same curve, whatever the user's matplotlib is set to, and nothing asks for a
screen: it is drawn without pyplot.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.manifest import CurvePoint

if TYPE_CHECKING:
    from matplotlib import RcParams
    from matplotlib.axes import Axes

PLOT_FILE, NUMBERS_FILE = "loss.svg", "curve.csv"
MOST_POINTS = 200  # of a bill's curve

_TRAINING, _VALIDATION, _FAINT = "#1f6f8b", "#c8553d", "#6b6b6b"  # the first two apart for the colour-blind, too
_WINDOWS = 25  # so many stretches of the training are told apart once it is smoothed


def thinned(curve: Sequence[CurvePoint], most: int = MOST_POINTS) -> tuple[CurvePoint, ...]:
    """At most `most` (2 or more) points of `curve`, evenly: the first, the last, and those with a validation loss.

    Of more validation losses than that some go, too, and never the lowest.
    """
    if len(curve) <= most:
        return tuple(curve)
    ends = {0, len(curve) - 1}
    looked = [i for i, point in enumerate(curve) if point.validation is not None and i not in ends]
    best = min(looked, key=lambda i: curve[i].validation or 0.0, default=None)
    kept = ends | ({best} if best is not None and most > len(ends) else set())
    kept |= set(_evenly([i for i in looked if i not in kept], most - len(kept)))
    kept |= set(_evenly([i for i in range(len(curve)) if i not in kept], most - len(kept)))
    return tuple(curve[i] for i in sorted(kept))


def smoothed(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and those about it, over `window` steps; fewer at both ends, evenly to both sides."""
    reach = window(len(losses)) // 2
    sums = [0.0]
    for loss in losses:
        sums.append(sums[-1] + loss)
    means = []
    for i in range(len(losses)):
        side = min(reach, i, len(losses) - 1 - i)
        means.append((sums[i + side + 1] - sums[i - side]) / (2 * side + 1))
    return means


def window(steps: int) -> int:
    """How many steps one smoothed loss is the mean of: an odd number, 1 for a short training."""
    return steps // _WINDOWS // 2 * 2 + 1


def write_numbers(curve: Sequence[CurvePoint], path: Path) -> None:
    """As CSV: step, training loss, and the validation loss where it was looked at."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("step", "loss", "validation"))
        rows.writerows((p.step, p.loss, "" if p.validation is None else p.validation) for p in curve)


def draw(curve: Sequence[CurvePoint], best_step: int, title: str, path: Path, cache: Path) -> None:
    """The curve as a picture at `path`, an .svg or a .png; the published step is marked.

    What matplotlib wants to keep (the list of fonts) it keeps in `cache`, unless MPLCONFIGDIR says where.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
    import matplotlib  # half a second that only a training needs
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context():
        _set_look(matplotlib.rcParams)
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        _plot_training(axes, curve)
        _plot_validation(axes, curve)
        axes.axvline(best_step, color=_FAINT, linestyle=":", linewidth=1.2, label=f"published: step {best_step}")
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats per token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend()
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=120)


def _set_look(params: "RcParams") -> None:
    """The same for everybody: matplotlib's own defaults, and a few of ours."""
    import matplotlib

    matplotlib.rcdefaults()
    params.update(
        {
            "svg.hashsalt": "ragtune",  # else ids are drawn by chance
            "svg.fonttype": "none",  # text stays text
            "text.parse_math": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": _FAINT,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
        }
    )


def _plot_training(axes: "Axes", curve: Sequence[CurvePoint]) -> None:
    steps, losses = [point.step for point in curve], [point.loss for point in curve]
    width = window(len(losses))
    if width > 1:
        axes.plot(steps, losses, color=_TRAINING, alpha=0.22, linewidth=0.8)
    label = f"training, mean of {width} steps" if width > 1 else "training"
    axes.plot(steps, smoothed(losses), color=_TRAINING, linewidth=1.8, label=label)


def _plot_validation(axes: "Axes", curve: Sequence[CurvePoint]) -> None:
    looked = [(point.step, point.validation) for point in curve if point.validation is not None]
    if looked:
        steps, losses = zip(*looked, strict=True)
        axes.plot(steps, losses, color=_VALIDATION, linewidth=1.4, marker="o", markersize=5, label="validation")


def _evenly(indices: Sequence[int], count: int) -> list[int]:
    """`count` of the indices, or all if there are fewer, at even distances."""
    if count >= len(indices):
        return list(indices)
    return [indices[(2 * i + 1) * len(indices) // (2 * count)] for i in range(count)]
