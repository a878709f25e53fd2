"""What a reader must know beside a report's figures: how they were made, and what they leave out."""

from eval.report import Report
from eval.statistics import RESAMPLES


def notes(report: Report) -> list[str]:
    """One line each; those that say nothing are left out."""
    return [
        _made_with(report),
        f"Quality: mean in points with its 95 % bootstrap interval over items ({RESAMPLES:,} resamples); bold: the "
        "best, or not told apart from the best on the same items.",
        _latency(report),
        *_abstention(report),
        *_retrieval(report),
        *_versions(report),
        *_left_out(report),
    ]


def _made_with(report: Report) -> str:
    header, server = report.header, report.header.server
    note = f" ({server.note})" if server and server.note else ""
    base = f"Base model {server.base}{note} on {server.device}, " if server else ""
    made = f"{base}ragtune {header.ragtune}"
    return f"{made}, {header.started}, {header.seconds:.0f} s."


def _latency(report: Report) -> str:
    suite = report.header.suite
    alone = f"{suite.alone} questions of each mode, one at a time;"
    return (
        f"First token, retrieval included: {alone} all questions were then asked {suite.concurrency} at once, modes "
        "mixed. Tokens are means over all questions."
    )


def _abstention(report: Report) -> list[str]:
    if not any(result.abstained for arm in report.arms for result in arm.tasks.values()):
        return []
    return ["Abstains: rightly in per cent of the unanswerable questions, wrongly in per cent of the answerable ones."]


def _retrieval(report: Report) -> list[str]:
    """Arms that retrieve alike stand together."""
    lines = []
    for task in report.tasks:
        shares: dict[str, list[str]] = {}
        for arm in report.arms:
            found = arm.tasks[task.name].gold_retrieved if task.name in arm.tasks else None
            if found:
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


def _left_out(report: Report) -> list[str]:
    lines = [f"Failed, and left out: {count} x {reason}" for reason, count in report.failures.items()]
    gaps = [f"{d.asked.arm} over {d.asked.over}: {d.left_out}" for d in report.differences if d.left_out]
    if gaps:
        lines.append(f"Items without an answer from both arms: {'; '.join(gaps)}.")
    if retries := sum(arm.retries for arm in report.arms):
        lines.append(f"{retries} requests were repeated because the service was full.")
    return lines
