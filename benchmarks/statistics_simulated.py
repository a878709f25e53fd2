"""Do the statistics hold what they say? Scores are drawn whose truth is known, and what is told is counted.

    python benchmarks/statistics_simulated.py [--replicates 2000]

Designs: 40 documents and more, 100 items and more; shares of right answers from 5 to 80 %, graded scores with many at 0
and 1; documents of equal and of very unequal size; items of a document correlated by 0 to 0.5. Figures are per cent.
The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace

from scipy.stats import norm
from simulated_scores import Design, Kind, coverage, paired_coverage, powered, told, truth

LONE, EVEN, UNEVEN = Design(120, 1), Design(40, 5), Design(60, 5, uneven=True)
CORRELATIONS = (0.0, 0.2, 0.5)
SHARES = (0.05, 0.2, 0.5, 0.8)
SHIFTS: dict[Kind, tuple[float, ...]] = {
    "right": tuple(float(norm.ppf(share)) for share in SHARES),
    "graded": (-1.0, 0.0, 0.5),
}


def designs() -> Iterator[Design]:
    """All that are tried."""
    yield LONE
    for design in (EVEN, UNEVEN):
        for correlation in CORRELATIONS:
            yield replace(design, correlation=correlation)


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    count = parser.parse_args().replicates
    one, two, wrong, family, power = {}, {}, {}, {}, {}
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
    for design in (LONE, replace(UNEVEN, correlation=0.2)):
        name = design.name
        (_, family[name], bare), _ = told(design, [0.0] * 8, "right", count, seed=4)
        power |= {f"{name} {kind}": powered(design, 0.0, kind, count) for kind in SHIFTS}
        print(name, "any of 7", family[name], "without Holm", bare, "power", power, flush=True)
    print(json.dumps(summary(one, two, wrong, family, power) | {"replicates": count}))


def summary(
    one: dict[str, list[float]],
    two: dict[str, list[float]],
    wrong: dict[str, float],
    family: dict[str, float],
    power: dict[str, dict[str, float]],
) -> dict[str, object]:
    """The worst of each."""
    clustered = {name: found for name, found in one.items() if "correlation 0.5" in name}
    return {
        "coverage": [min(found[0] for found in one.values()), max(found[0] for found in one.values())],
        "difference_coverage": [min(found[0] for found in two.values()), max(found[0] for found in two.values())],
        "naive_coverage_correlated": [f([found[1] for found in clustered.values()]) for f in (min, max)],
        "false_positives": [min(wrong.values()), max(wrong.values())],
        "family_wise": max(family.values()),
        "power": [min(found["told"] for found in power.values()), max(found["told"] for found in power.values())],
    }


if __name__ == "__main__":
    main()
