"""The verdict in words that a product owner understands: each sentence is made by one pure function."""

from collections.abc import Sequence

from eval.figures import metric_words
from eval.verdict.candidate import Candidate
from eval.verdict.decided import Decided
from eval.verdict.figures import about, bounds, money, points, seconds, turned
from eval.verdict.price import bill


def words(decided: Decided) -> tuple[str, ...]:
    """The verdict, its evidence, what became of each arm, and what limits all this."""
    return (
        *([_none(decided)] if decided.chosen is None else _use(decided, decided.chosen)),
        *(_may_be(one, decided) for one in decided.candidates if one.arm in decided.may_be),
        *_behind(decided.behind),
        *(_excluded(one, decided) for one in decided.candidates if one.arm in decided.excluded),
        *(f"{arm} is left out: {decided.excluded[arm]}." for arm in _without_candidate(decided)),
        *_unknown_costs(decided),
        *(_left_out(one) for one in decided.candidates if one.coverage < 1 and one.arm not in decided.short),
        *_few(decided.candidates),
    )


def _none(decided: Decided) -> str:
    if all(one.arm in decided.short for one in decided.candidates):
        return "No arm can be recommended: none has a score of enough questions."
    return "No arm fits the budget."


def _without_candidate(decided: Decided) -> list[str]:
    known = {one.arm for one in decided.candidates}
    return [arm for arm in decided.short if arm not in known]


def _use(decided: Decided, chosen: Candidate) -> list[str]:
    found = [f"Use {chosen.arm}.", f"It {_scores(chosen, decided)}."]
    if decided.best is chosen or decided.best is None:
        found.append("No arm that the budget allows has a higher score.")
    else:
        found += [_close(chosen, decided.best, decided), *_cheaper(chosen, decided.best, decided)]
    found.append(_before(chosen, decided.hourly_rate))
    others = [one.arm for one in decided.within if one is not chosen and one is not decided.best]
    if others:
        found.append(f"Also good enough, and not known to be cheaper: {', '.join(others)}.")
    return found


def _scores(one: Candidate, decided: Decided) -> str:
    mean = f"{100 * one.quality.mean:.0f}"
    if decided.counted:
        return f"answers {mean} of 100 questions rightly {bounds(one.quality)}"
    of = f" of {metric_words(decided.metric)}" if decided.metric else ""
    return f"scores {mean} points{of} {bounds(one.quality)}"


def _before(one: Candidate, hourly_rate: float | None) -> str:
    """The bill of what is paid once."""
    costs = one.costs
    if costs.outside:
        return "What its training has cost is not known, and in no figure here."
    if costs.training_seconds is None:
        return "What its training took is not recorded."
    once = bill(costs, hourly_rate).once
    paid = f" ({money(once)})" if once else ""
    unknown = "; what its index took is not recorded" if costs.index_seconds is None else ""
    if not costs.training_seconds:
        index = f"; its index takes {seconds(costs.index_seconds)} to build{paid}" if costs.index_seconds else unknown
        return f"It needs no training{index}."
    index = f" and {seconds(costs.index_seconds)} of indexing" if costs.index_seconds else unknown
    return f"Before the first question it takes {seconds(costs.training_seconds)} of training{index}{paid}."


def _close(chosen: Candidate, best: Candidate, decided: Decided) -> str:
    return (
        f"The best that the budget allows, {best.arm}, {_scores(best, decided)}; on the same questions "
        f"{chosen.arm} is {_apart(chosen)}, surely less than the {decided.tolerance:g} points that are tolerated."
    )


def _cheaper(chosen: Candidate, best: Candidate, decided: Decided) -> list[str]:
    mine, theirs = decided.order.value(chosen.arm), decided.order.value(best.arm)
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


def _may_be(one: Candidate, decided: Decided) -> str:
    more = decided.may_be[one.arm]
    tell = (
        "no practical number of questions would tell"
        if more is None
        else f"about {about(more)} more questions would tell"
    )
    if decided.looks_good(one):
        return f"{one.arm} may be as good: it is {_apart(one)}; {tell}."
    return f"{one.arm} looks not good enough, which is not sure: it is {_apart(one)}; {tell}."


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
    unknown = [one.arm for one in decided.within if decided.order.value(one.arm) is None]
    if not unknown or len(decided.within) == 1:
        return []
    if len(unknown) == len(decided.within):
        return ["Nothing is known of what the arms cost, so the better one is chosen."]
    return [f"Not known of {', '.join(unknown)}, and so taken for the dearest: {decided.order.words}."]


def _left_out(one: Candidate) -> str:
    scored = one.quality.n if one.scored is None else one.scored
    return (
        f"{one.arm} has a score of {scored} of {one.asked} questions ({100 * one.coverage:.0f} %): the others "
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
