"""The verdict in words that a product owner understands: each sentence is made by one pure function."""

from collections.abc import Sequence

from eval.verdict.candidate import Candidate
from eval.verdict.decided import Decided
from eval.verdict.figures import about, bounds, points, seconds, turned


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
        found.append(f"Also good enough, and not known to be cheaper: {', '.join(others)}.")
    return found


def _scores(one: Candidate, counted: bool) -> str:
    mean = f"{100 * one.quality.mean:.0f} of 100"
    return (
        f"answers {mean} questions {bounds(one.quality)}" if counted else f"scores {mean} points {bounds(one.quality)}"
    )


def _close(chosen: Candidate, best: Candidate, decided: Decided) -> str:
    return (
        f"The best that the budget allows, {best.arm}, {_scores(best, decided.counted)}; on the same questions "
        f"{chosen.arm} is {_apart(chosen)}, surely less than the {decided.tolerance:g} points that are tolerated."
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
    tell = "no number of questions would tell" if more is None else f"about {about(more)} more questions would tell"
    return f"{one.arm} may be as good: it is {_apart(one)}; {tell}."


def _behind(candidates: Sequence[Candidate]) -> list[str]:
    told = [f"{one.arm} ({_apart(one)})" for one in candidates]
    return [f"Not good enough: {', '.join(told)}."] if told else []


def _excluded(one: Candidate, decided: Decided) -> str:
    reason = decided.excluded[one.arm]
    if one.gap is None or decided.best is None or one.gap.verdict == "worse":
        return f"{one.arm} is left out: {reason}."
    if one.gap.verdict == "tie":
        return f"{one.arm} is left out: {reason}. Its score is not told apart from that of {decided.best.arm}."
    gap = one.gap.difference
    return f"{one.arm} is {points(gap.mean)} better than {decided.best.arm} {bounds(gap)}, but left out: {reason}."


def _unknown_costs(decided: Decided) -> list[str]:
    """Of those that are good enough: a cost that is not known may have kept one from being chosen."""
    unknown = [one.arm for one in decided.within if decided.order.costs[one.arm] is None]
    if not unknown or len(decided.within) == 1:
        return []
    if len(unknown) == len(decided.within):
        return ["Nothing is known of what the arms cost, so the better one is chosen."]
    return [f"Not known, and so taken for the dearest: {decided.order.words} of {', '.join(unknown)}."]


def _left_out(one: Candidate) -> str:
    return (
        f"{one.arm} has a score of {one.quality.n} of {one.asked} questions ({100 * one.coverage:.0f} %): the others "
        "failed or could not be scored and are left out, not counted as wrong."
    )


def _few(candidates: Sequence[Candidate]) -> list[str]:
    fewest = min((one.quality for one in candidates), key=lambda quality: quality.clusters)
    if not fewest.few:
        return []
    there = f"The questions come from {fewest.clusters}" if fewest.clusters < fewest.n else f"There are {fewest.n}"
    what = "document" if fewest.clusters < fewest.n else "question"
    return [f"{there} {what}{'s' * (fewest.clusters > 1)} only: too few to rely on the ranges in brackets."]


def _apart(one: Candidate) -> str:
    """How far the arm is from the best, with the range in the same direction: `2 points behind [-4, 8]`."""
    if one.gap is None:
        return "the best"
    gap = one.gap.difference
    if round(1000 * gap.mean) == 0:
        return f"level with the best {bounds(gap)}"
    return (
        f"{points(gap.mean)} ahead {bounds(gap)}"
        if gap.mean > 0
        else f"{points(gap.mean)} behind {bounds(turned(gap))}"
    )
