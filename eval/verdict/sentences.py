"""The verdict in words that a product owner understands: each sentence is made by one pure function."""

from collections.abc import Sequence

from eval.verdict.candidate import Candidate
from eval.verdict.decided import Decided
from eval.verdict.figures import about, bounds, points, seconds

FEW = 10  # groups of items below which an interval is not to be relied on


def words(decided: Decided) -> tuple[str, ...]:
    """The verdict, its evidence, what became of each arm, and what limits all this."""
    return (
        *(["No arm fits the budget."] if decided.chosen is None else _use(decided, decided.chosen)),
        *(_may_be(one, more) for one in decided.candidates if (more := decided.may_be.get(one.arm, -1)) != -1),
        *_behind(decided.behind),
        *(_excluded(one, decided) for one in decided.candidates if one.arm in decided.excluded),
        *_unknown_costs(decided),
        *(_left_out(one) for one in decided.candidates if one.coverage < 1),
        *_few(decided.candidates),
    )


def _use(decided: Decided, chosen: Candidate) -> list[str]:
    found = [f"Use {chosen.arm}.", f"It {_scores(chosen, decided.counted)}."]
    if decided.best is chosen or decided.best is None:
        found.append("No arm that the budget allows has a higher score.")
    else:
        found += [_close(chosen, decided.best, decided), *_cheaper(chosen, decided.best, decided)]
    others = [one.arm for one in decided.within if one is not chosen and one is not decided.best]
    if others:
        found.append(f"Also good enough, but not cheaper: {', '.join(others)}.")
    return found


def _scores(one: Candidate, counted: bool) -> str:
    mean = f"{100 * one.quality.mean:.0f} of 100"
    return (
        f"answers {mean} questions {bounds(one.quality)}" if counted else f"scores {mean} points {bounds(one.quality)}"
    )


def _close(chosen: Candidate, best: Candidate, decided: Decided) -> str:
    assert chosen.gap is not None
    gap = chosen.gap.difference
    return (
        f"The best that the budget allows, {best.arm}, {_scores(best, decided.counted)}; on the same questions "
        f"{chosen.arm} is {_apart(gap.mean)} {bounds(gap)}, surely less than the {decided.tolerance:g} points that are "
        "tolerated."
    )


def _cheaper(chosen: Candidate, best: Candidate, decided: Decided) -> list[str]:
    mine, theirs = decided.order.costs[chosen.arm], decided.order.costs[best.arm]
    if mine is None or theirs is None:
        return []
    write = decided.order.written
    if decided.order.cheaper(chosen.arm, best.arm):
        return [f"It is the cheaper one ({decided.order.words}): {write(mine)} instead of {write(theirs)}."]
    training, other = chosen.costs.training_seconds, best.costs.training_seconds
    if training is not None and other is not None and training < other:
        return [
            f"Their costs are alike ({write(mine)} and {write(theirs)}), and it takes less training: "
            f"{seconds(training)} instead of {seconds(other)}."
        ]
    return []


def _may_be(one: Candidate, more: int | None) -> str:
    assert one.gap is not None
    gap = one.gap.difference
    tell = "no number of questions would tell" if more is None else f"about {about(more)} more questions would tell"
    return f"{one.arm} may be as good: it is {_apart(gap.mean)} {bounds(gap)}; {tell}."


def _behind(candidates: Sequence[Candidate]) -> list[str]:
    told = [
        f"{one.arm} ({points(one.gap.difference.mean)} {bounds(one.gap.difference)})" for one in candidates if one.gap
    ]
    return [f"Not good enough, by what it is behind the best: {', '.join(told)}."] if told else []


def _excluded(one: Candidate, decided: Decided) -> str:
    reason = decided.excluded[one.arm]
    if one.gap is None or decided.best is None:
        return f"{one.arm} is left out: {reason}."
    gap = one.gap.difference
    than = f"than {decided.best.arm} {bounds(gap)}"
    if one.gap.verdict == "tie":
        return f"{one.arm} is left out: {reason}. Its score is not told apart from that of {decided.best.arm}."
    return f"{one.arm} is {points(gap.mean)} {one.gap.verdict} {than}, but left out: {reason}."


def _unknown_costs(decided: Decided) -> list[str]:
    unknown = [arm for arm, cost in decided.order.costs.items() if cost is None]
    if not unknown or decided.chosen is None:
        return []
    if len(unknown) == len(decided.order.costs):
        return ["Nothing is known of what the arms cost, so the better one is chosen."]
    return [f"Not known, and so taken for the dearest: {decided.order.words} of {', '.join(unknown)}."]


def _left_out(one: Candidate) -> str:
    return (
        f"{one.arm} has a score of {one.quality.n} of {one.asked} questions ({100 * one.coverage:.0f} %): the others "
        "failed or could not be scored and are left out, not counted as wrong."
    )


def _few(candidates: Sequence[Candidate]) -> list[str]:
    fewest = min(one.quality.clusters for one in candidates)
    if fewest >= FEW:
        return []
    return [f"The questions come from {fewest} documents only: too few to rely on the ranges in brackets."]


def _apart(mean: float) -> str:
    if round(1000 * mean) == 0:
        return "level with it"
    return f"{points(mean)} {'better' if mean > 0 else 'behind'}"
