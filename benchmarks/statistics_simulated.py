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
    enough: dict[str, dict[str, tuple[float, float]]] = {}
    for design in (
        LONE,
        replace(SMALL, correlation=0.5),
        replace(EVEN, correlation=0.2),
        replace(UNEVEN, correlation=0.2),
    ):
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
    print(json.dumps(summary(one, two, wrong, family, power) | {"verdicts": enough, "replicates": count}))


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
        "power": {name: found["told"] for name, found in power.items()},
    }


if __name__ == "__main__":
    main()
