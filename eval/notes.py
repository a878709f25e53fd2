"""What a reader must know beside a report's figures: how they were made, and what they leave out."""

from eval.agreement import Judged
from eval.costs import ENOUGH
from eval.figures import metric_words
from eval.metrics import METRICS
from eval.report import Report
from eval.statistics import RESAMPLES, Split


def notes(report: Report) -> list[str]:
    """One line each; those that say nothing are left out."""
    return [
        _made_with(report),
        _quality(report),
        *_perplexity(report),
        *_few_clusters(report),
        *_repeats(report),
        _latency(report),
        "Memory of the machine while it answers is not measured: it cannot be had over HTTP.",
        *_deadline(report),
        *_price(report),
        *_abstention(report),
        *_judge(report),
        *_retrieval(report),
        *_versions(report),
        *_leaks(report),
        *_unchecked(report),
        *_unheld(report),
        *_known(report),
        *_not_asked(report),
        *_left_out(report),
    ]


def _made_with(report: Report) -> str:
    header, server = report.header, report.header.server
    note = f" ({server.note})" if server and server.note else ""
    base = f"Base model {server.base}{note} on {server.device}, " if server else ""
    made = f"{base}ragtune {header.ragtune}"
    return f"{made}, {header.started}, {header.seconds:.0f} s."


def _quality(report: Report) -> str:
    whole = [task for task in report.tasks if any(METRICS[metric].whole for metric in task.metrics)]
    drawn = f"; figures of all items at once by {RESAMPLES:,} resamples of documents" if whole else ""
    return (
        "Quality: mean in points with its 95 % interval, which reckons with items of one document being alike"
        f"{drawn}; bold: the best, or not told apart from the best on the same items."
    )


def _perplexity(report: Report) -> list[str]:
    nats = [metric for task in report.tasks for metric in task.metrics if METRICS[metric].unit == "nats"]
    return ["Perplexity: lower is better; its differences are in nats a token, a plus is better."] if nats else []


def _few_clusters(report: Report) -> list[str]:
    few = [
        f"{task.name} ({min(counts)})"
        for task in report.tasks
        if (
            counts := [
                found.clusters
                for arm in report.arms
                if task.name in arm.tasks and (found := arm.tasks[task.name].scores.get(task.headline)) and found.few
            ]
        )
    ]
    return [f"Beware: intervals rest on few documents: {', '.join(few)}."] if few else []


def _repeats(report: Report) -> list[str]:
    """Whether more seeds or more items would narrow the intervals, by the largest share of seeds."""
    if len(report.header.suite.seeds) == 1:
        return []
    shares = [
        (split.share_of_seeds, task.name, arm.name)
        for arm in report.arms
        for task in report.tasks
        if task.name in arm.tasks and (split := arm.tasks[task.name].split)
    ]
    if not shares:
        return []
    share, task, arm = max(shares)
    widest = next(each.tasks[task].split for each in report.arms if each.name == arm)
    assert widest is not None
    return [
        f"Each question was asked with {len(report.header.suite.seeds)} seeds; repeats are averaged and count as one "
        f"item. Of the variance of single answers at most {100 * share:.0f} % is between seeds ({arm}, {task}), the "
        f"rest between questions. {_narrower(widest)}"
    ]


def _narrower(found: Split) -> str:
    """What more of either would leave of the standard error, questions taken as independent."""
    if not found.error:
        return "No question's score differs from another's."
    seeds, items = (100 * other / found.error for other in (found.with_twice_the_seeds, found.with_twice_the_items))
    of = "of the standard error of its mean"
    return f"Twice the seeds would leave {seeds:.0f} % {of}, twice the questions {items:.0f} %."


def _latency(report: Report) -> str:
    suite = report.header.suite
    alone = f"{suite.alone} questions of each mode, one at a time;"
    return (
        f"First token, retrieval included: {alone} all questions were then asked {suite.concurrency} at once, modes "
        "mixed. Tokens are means over all questions. What is given other passages than it finds is not timed alone. Of "
        f"fewer than {ENOUGH} questions the p95 is the slowest. The table of costs is of all tasks together; a verdict "
        "goes by the times of its own task."
    )


def _deadline(report: Report) -> list[str]:
    """The service keeps its own, whatever the suite asks for."""
    asked, server = report.header.suite.timeout, report.header.server
    if server is None or server.deadline is None or server.deadline >= asked:
        return []
    return [f"Beware: the service gave a request {server.deadline:g} s at most, not the {asked:g} s of the suite."]


def _price(report: Report) -> list[str]:
    known = {arm.cost.price_from for arm in report.arms}
    rate = report.header.suite.hourly_rate
    told = []
    if "machine" in known:
        told.append(f"the machine at {rate:g} an hour for as long as an answer takes alone, the dearest it can be")
    if "tokens" in known:
        told.append("outside endpoints by their token prices")
    return [f"Price of 1,000 queries, training not included: {'; '.join(told)}."] if told else []


def _abstention(report: Report) -> list[str]:
    if not any(result.abstained for arm in report.arms for result in arm.tasks.values()):
        return []
    return [
        "Abstains: rightly in per cent of the unanswerable questions, wrongly in per cent of the answerable ones. "
        "Wrong when answered: of the questions, unanswerable ones included, that it gave any answer to."
    ]


def _judge(report: Report) -> list[str]:
    """How far the judge is to be believed."""
    return [_agreement(each) for each in report.agreements]


def _agreement(judged: Judged) -> str:
    by, found = metric_words(judged.reference), judged.found
    if found is None:
        return f"The judge of {judged.task} is not checked: no answer has both its score and {by}."
    rank = (
        "no rank correlation, as one of them never differs"
        if found.spearman is None
        else (f"rank correlation {found.spearman:.2f} (Spearman)")
    )
    return (
        f"The judge of {judged.task} and {by} put {100 * found.halves:.0f} % of {found.n} answers into the same half "
        f"of their scales; {rank}."
    )


def _retrieval(report: Report) -> list[str]:
    """Arms that retrieve alike stand together."""
    lines = []
    for task in report.tasks:
        shares: dict[str, list[str]] = {}
        for arm in report.arms:
            found = arm.tasks[task.name].gold_retrieved if task.name in arm.tasks else None
            if found and not arm.control:
                shares.setdefault(f"{100 * found.mean:.0f} % of {found.n} questions", []).append(arm.name)
        told = "; ".join(f"{share} ({', '.join(arms)})" for share, arms in shares.items())
        lines += [f"Retrieval, {task.name}: the gold document was among the passages for {told}."] if told else []
    return lines


def _versions(report: Report) -> list[str]:
    answered = {version for arm in report.arms for versions in arm.versions.values() for version in versions}
    changed = [
        f"Beware: {arm.name} was answered by several versions: {', '.join(versions)}."
        for arm in report.arms
        for versions in arm.versions.values()
        if len(versions) > 1
    ]
    return ([f"Versions: {', '.join(sorted(answered))}."] if answered else []) + changed


def _leaks(report: Report) -> list[str]:
    found = [f"{len(examples)} of {task}" for task, examples in report.header.leaks.items() if examples]
    return [f"Beware: questions that stand in the training files, too: {', '.join(found)}."] if found else []


def _unchecked(report: Report) -> list[str]:
    """Arms that may have been trained on what they were asked, for all that is known."""
    return [
        f"Beware: not looked at for leaks, {arm}: {'; '.join(reasons)}."
        for arm, reasons in report.header.unchecked.items()
    ]


def _unheld(report: Report) -> list[str]:
    told = [f"{arm}: {count}" for arm, count in report.header.unheld.items()]
    return [f"Questions whose gold passages hold no accepted answer word for word: {', '.join(told)}."] if told else []


def _known(report: Report) -> list[str]:
    """How much of what is asked the knowledge base can tell at most."""
    return [
        f"An accepted answer stands in the index {index} for at least {100 * share:.0f} % of the questions of {task}."
        for index, tasks in report.header.known.items()
        for task, share in tasks.items()
    ]


def _not_asked(report: Report) -> list[str]:
    """Questions that a control could not be asked."""
    told = [f"{arm}: {count}" for arm, count in report.header.left_out.items() if count]
    return [f"Not asked, as the example names nothing that holds the answer: {', '.join(told)}."] if told else []


def _left_out(report: Report) -> list[str]:
    lines = [f"Failed, and left out: {count} x {reason}" for reason, count in report.failures.items()]
    gaps = [f"{d.asked.arm} over {d.asked.over}: {d.left_out}" for d in report.differences if d.left_out]
    if gaps:
        lines.append(f"Items without an answer from both arms: {'; '.join(gaps)}.")
    if retries := sum(arm.retries for arm in report.arms):
        lines.append(f"{retries} requests were repeated because the service was full.")
    return lines
