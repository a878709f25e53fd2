"""What the controls show, in plain sentences. Pure."""

from eval.across import Across
from eval.figures import difference, difference_range, pvalue
from eval.ladder import Errors, Format, Ladder, Step
from eval.report import Report
from eval.statistics import Compared, Interval

_TOLD = {
    ("retrieved", "none"): ("Retrieval helps", "Retrieval hurts", "It is not shown whether retrieval helps"),
    ("gold", "retrieved"): (
        "With perfect retrieval it would be better",
        "With the gold passages it is worse than with those retrieved",
        "It is not shown whether perfect retrieval would help",
    ),
    ("gold+distractors", "gold"): (
        "Other passages beside the gold ones help",
        "Other passages beside the gold ones distract",
        "It is not shown whether other passages beside the gold ones distract",
    ),
    ("wrong", "none"): (
        "Even passages that do not hold the answer help",
        "Passages that do not hold the answer hurt",
        "It is not shown whether passages that do not hold the answer hurt",
    ),
}


def ladder_words(ladder: Ladder) -> list[str]:
    """One sentence a step, and one on whose errors they are."""
    steps = [_step(ladder.metric, step) for step in ladder.steps]
    return [*([_errors(ladder.errors)] if ladder.errors else []), *steps]


def format_words(found: Format) -> str:
    """How much of an arm's gain the instruction alone brings."""
    if found.gain is None or found.by_format is None or found.beyond is None:
        return f"{found.arm}: no example was answered in all three modes."
    gained = f"{found.arm} gains {_gap(found.metric, found.gain)} over {found.plain}"
    told = f"{found.instructed} gains {_gap(found.metric, found.by_format)} by the instruction alone"
    left = f"beyond the instruction {found.arm} is {_gap(found.metric, found.beyond)}"
    return f"{gained}; {told}; {left}, so {_conclusion(found)}."


def _conclusion(found: Format) -> str:
    assert found.gain is not None and found.beyond is not None and found.by_format is not None
    if found.gain.verdict == "worse":
        return "training did not pay here"
    if found.gain.verdict == "tie":
        return "no gain shows that could be split"
    if found.beyond.verdict == "better":
        share = found.by_format.difference.mean / found.gain.difference.mean
        return f"the gain is more than format (about {max(0, min(100, round(100 * share)))} % of it is)"
    return "the gain may be all format"


def _errors(errors: Errors) -> str:
    n = errors.n
    lost = f"{_share(errors.retriever.mean, n)} are lost by retrieval ({_range(errors.retriever)} of all)"
    if errors.not_found is not None:
        lost += f", {errors.not_found} of them without the gold document"
    read = f"{_share(errors.reader.mean, n)} are answered wrongly even from the gold passages ({_range(errors.reader)})"
    return f"Of {n} questions {_share(errors.right.mean, n)} are right as retrieved, {lost}, {read}."


def _step(metric: str, step: Step) -> str:
    better, worse, tie = _TOLD[step.first, step.second]
    if step.compared is None:
        return f"{step.first} against {step.second}: no example was answered with both."
    words = {"better": better, "worse": worse, "tie": tie}[step.compared.verdict]
    figures = f"{_gap(metric, step.compared)}, p {pvalue(step.compared.adjusted)}"
    return f"{words}: {step.first} against {step.second} {figures}."


def _gap(metric: str, found: Compared) -> str:
    return f"{difference(metric, found.difference.mean)} {difference_range(metric, found.difference)}"


def verdict_lines(report: Report) -> list[tuple[str, list[str]]]:
    """By task, what a verdict says and what would change it."""
    return [
        (
            f"Verdict, {verdict.task}",
            [
                *verdict.words,
                *(f"What would change this: {words}" for words in verdict.would_change),
            ],
        )
        for verdict in report.verdicts
    ]


def control_lines(report: Report) -> list[str]:
    """What the ladders, the controls of format and the audit of efforts show."""
    ladders = [f"{each.task}, {each.mode}: {words}" for each in report.ladders for words in ladder_words(each)]
    formats = [f"{each.task}: {format_words(each)}" for each in report.formats]
    marks = {True: "equal", False: "unequal", None: "not recorded of all"}
    audit = [
        f"Effort, {found.task}, {each.name}: {marks[each.equal]}, {each.words}."
        for found in report.audits
        for each in found.aspects
    ]
    return [*ladders, *formats, *audit]


def _share(share: float, n: int) -> str:
    """As a count, which people read more easily than a share."""
    return f"{share * n:.0f}"


def _range(found: Interval) -> str:
    return f"{100 * found.low:.0f} to {100 * found.high:.0f} %"


def change_lines(found: Across) -> list[str]:
    """What is not the same in two runs, and what of them could not be compared."""
    lines = [f"Changed, {change.what}: {change.first} → {change.second}" for change in found.changes]
    unlike = "questions are others under the same name"
    lines += [f"Left out, {task}: {count} {unlike}." for task, count in found.unlike.items()]
    for name, arms in ((found.first, found.only_first), (found.second, found.only_second)):
        lines += [f"Only in {name}: {', '.join(arms)}."] if arms else []
    return lines or ["Nothing else differs: the same suite, data and versions."]
