"""Do the statistics hold what they say? Scores are drawn whose truth is known, and what is told is counted.

    python benchmarks/statistics_simulated.py [--replicates 2000] [--part verdicts]

Designs: 40 documents and more, 100 items and more; shares of right answers from 5 to 80 %, graded scores with many at 0
and 1; documents of equal and of very unequal size; items of a document correlated by 0 to 0.5. Figures are per cent.
The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from scipy.stats import norm
from simulated_scores import Design, Kind, coverage, macro_f1, paired_coverage, powered, told, truth, within

LONE, SMALL, EVEN, UNEVEN = Design(120, 1), Design(40, 3), Design(40, 5), Design(60, 5, uneven=True)
CORRELATIONS = (0.0, 0.2, 0.5)
SHARES = (0.05, 0.2, 0.5, 0.8)
SHIFTS: dict[Kind, tuple[float, ...]] = {
    "right": tuple(float(norm.ppf(share)) for share in SHARES),
    "graded": (-1.0, 0.0, 0.5),
}


def designs() -> Iterator[Design]:
    """All that are tried."""
    yield LONE
    for design in (SMALL, EVEN, UNEVEN):
        for correlation in CORRELATIONS:
            yield replace(design, correlation=correlation)


PLACES = (LONE, replace(SMALL, correlation=0.5), replace(EVEN, correlation=0.2), replace(UNEVEN, correlation=0.2))


def main() -> None:
    """Both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument(
        "--part", choices=PARTS, help="only what is told of one or two arms, or only verdicts and power"
    )
    asked = parser.parse_args()
    figures: dict[str, object] = {"replicates": asked.replicates}
    for name, part in PARTS.items():
        if asked.part in (None, name):
            figures |= part(asked.replicates)
    print(json.dumps(figures))


def intervals(count: int) -> dict[str, object]:
    """How often intervals hold the truth, and how often a difference is told where there is none: the extremes."""
    one, two, wrong = {}, {}, {}
    for design in designs():
        for kind, shifts in SHIFTS.items():
            for shift in shifts:
                name = f"{design.name} {kind} {truth(shift, kind):.2f}"
                one[name] = coverage(design, shift, kind, count, seed=1)
                two[name] = paired_coverage(design, [shift + 0.3, shift], kind, count, seed=2)
                print(name, "covers", one[name], "difference", two[name], flush=True)
        for kind in SHIFTS:
            name = f"{design.name} {kind}"
            (wrong[name], *_), _ = told(design, [0.0, 0.0], kind, count, seed=3)
            print(name, "told of nothing", wrong[name], flush=True)
    correlated = [found[1] for name, found in one.items() if "correlation 0.5" in name]
    return {
        "coverage": extremes([found[0] for found in one.values()]),
        "difference_coverage": extremes([found[0] for found in two.values()]),
        "naive_coverage_correlated": extremes(correlated),
        "false_positives": extremes(wrong.values()),
    }


def verdicts(count: int) -> dict[str, object]:
    """Several comparisons at once, the power of the stated difference, who is good enough, and macro-F1."""
    family, power, enough = {}, {}, {}
    for design in PLACES:
        name = design.name
        (_, family[name], bare), _ = told(design, [0.0] * 8, "right", count, seed=4)
        power |= {f"{name} {kind}": powered(design, 0.0, kind, count) for kind in SHIFTS}
        print(name, "any of 7", family[name], "without Holm", bare, "power", power, flush=True)
        enough[name] = {
            "within, 2 arms, 5 points behind of 5": within(design, 2, 0.05, count, seed=11),
            "within, 2 arms, 20 points behind of 20": within(design, 2, 0.2, count, seed=11),
            "within, 8 arms, 20 points behind of 20": within(design, 8, 0.2, count, seed=12),
            "macro-F1 alike": macro_f1(design, (0.0, 0.0), count, seed=13),
            "macro-F1 apart": macro_f1(design, (0.3, 0.0), count, seed=14),
        }
        print(name, enough[name], flush=True)
    told_power = {name: found["told"] for name, found in power.items()}
    return {"family_wise": max(family.values()), "power": told_power, "verdicts": enough}


def extremes(found: Iterable[float]) -> list[float]:
    """The least and the most."""
    values = list(found)
    return [min(values), max(values)]


PARTS = {"intervals": intervals, "verdicts": verdicts}


if __name__ == "__main__":
    main()
