"""What would change the verdict: more items, another budget, another tolerance, more queries or updates."""

from collections.abc import Callable

from eval.verdict.candidate import BreakEven, Candidate
from eval.verdict.decided import Decided
from eval.verdict.figures import about, points

THINKABLE = 10  # points: nobody tolerates more for the sake of costs


def changes(decided: Decided) -> tuple[str, ...]:
    """One sentence each; empty if nothing known would."""
    makers: tuple[Callable[[Decided], list[str]], ...] = (_more_items, _tolerance, _budget, _break_even, _prices)
    return tuple(sentence for make in makers for sentence in make(decided))


def _more_items(decided: Decided) -> list[str]:
    """Only of arms that would be chosen if they were good enough, and that look so: of others more questions would show
    the opposite, which changes nothing."""
    if decided.chosen is None:
        return []
    cheaper = [
        one
        for one in decided.candidates
        if one.arm in decided.may_be and decided.order.cheaper(one.arm, decided.chosen.arm) and decided.looks_good(one)
    ]
    return [
        f"About {about(more)} more questions may show that {one.arm}, which is cheaper, is good enough."
        for one in cheaper
        if (more := decided.may_be[one.arm]) is not None
    ]


def _tolerance(decided: Decided) -> list[str]:
    """The tolerance below which the chosen arm is no longer within, and the one from which a cheaper arm would be."""
    found = []
    chosen = decided.chosen
    if chosen is not None and decided.best is not chosen and chosen.gap is not None:
        least = max(0.0, _shortfall(chosen))
        found.append(f"If less than {least:.1f} points were tolerated, {chosen.arm} would not be good enough any more.")
    short = [one for one in decided.candidates if _cheaper_and_short(one, decided)]
    for one in sorted(short, key=_shortfall)[:1]:
        found.append(f"If {_shortfall(one):.1f} points were tolerated, {one.arm}, which is cheaper, would do.")
    return found


def _cheaper_and_short(one: Candidate, decided: Decided) -> bool:
    if decided.chosen is None or one.gap is None or one.arm in decided.excluded or one in decided.within:
        return False
    return _shortfall(one) <= THINKABLE and decided.order.cheaper(one.arm, decided.chosen.arm)


def _shortfall(one: Candidate) -> float:
    assert one.gap is not None
    return -100 * one.gap.difference.low


def _budget(decided: Decided) -> list[str]:
    """Arms that the budget excludes and that are told to be better, or all of them if it leaves none."""
    if decided.chosen is None:
        over = [arm for arm in decided.excluded if arm not in decided.short]
        return ["A larger budget would: see what each arm takes."] if over else []
    return [
        f"A larger budget: {one.arm} would then be {points(one.gap.difference.mean)} better."
        for one in decided.candidates
        if one.arm in decided.excluded and one.arm not in decided.short and one.gap and one.gap.verdict == "better"
    ]


def _break_even(decided: Decided) -> list[str]:
    """Only of arms that are good enough, or may be."""
    near = {one.arm for one in decided.within} | set(decided.may_be)
    found = [one for one in decided.break_even if one.other in near]
    return [sentence for one in found for sentence in (*_by_queries(one), *_by_updates(one))]


def _by_queries(one: BreakEven) -> list[str]:
    if one.queries is None:
        return []
    above = one.other if one.below_queries == one.chosen else one.chosen
    if one.unit == "seconds":
        return [
            f"Counted in time of the machine, what {above} takes before the first question is paid back after about "
            f"{about(one.queries)} questions; up to there {one.below_queries} takes less."
        ]
    return [f"From about {about(one.queries)} queries a month on {above} is cheaper, below that {one.below_queries}."]


def _by_updates(one: BreakEven) -> list[str]:
    if one.updates is None:
        return []
    above = one.other if one.below_updates == one.chosen else one.chosen
    return [
        f"If the knowledge changes more often than about {about(one.updates)} times a month, {above} is cheaper, "
        f"below that {one.below_updates}."
    ]


def _prices(decided: Decided) -> list[str]:
    """Without an hourly rate training has no price, and nobody can say when it pays."""
    trained = any(one.costs.training_seconds for one in decided.candidates)
    if decided.hourly_rate is not None or not trained:
        return []
    return ["A price of the machine's hour (hourly_rate in the suite) would say when training pays for itself."]
