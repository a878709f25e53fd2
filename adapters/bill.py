"""The bill in words: what a training cost, what it reached, and whether it overfits or forgets.

Everything here is read off the record alone, so the page of a run and the bill of a version that was published long
ago say the same.
"""

from adapters.interference import interference_rows
from adapters.manifest import Bill, Forgetting, SearchedRate, TrainingRecord

OVERFITS = FORGETS = 0.1  # nats a token: perplexity is then a tenth higher
QUESTIONS_LOST = 0.1  # share of the questions the base model answers

NO_BILL = "none: it was trained before there were bills"
Rows = list[tuple[str, str]]


def bill_rows(record: TrainingRecord) -> Rows:
    """What each line of the bill is called, and what it says. A record without a bill has what it does know."""
    bill = record.bill
    rows: Rows = [("method", record.method), ("base model", record.base_id)]
    if bill is None:
        rows += [("bill", NO_BILL), *_cost_without_bill(record)]
    else:
        rows += [*cost_rows(bill), *quality_rows(bill, record.steps), *task_rows(bill)]
    return rows + provenance_rows(record)


def cost_rows(bill: Bill) -> Rows:
    """Time, memory, tokens, parameters, bytes and the price."""
    search = f", {duration(bill.search_seconds)} of it searching for the learning rate" if bill.search_seconds else ""
    search += f", {duration(bill.measuring_seconds)} of it measuring what it did" if bill.measuring_seconds else ""
    rows = [("time", duration(bill.wall_seconds) + search), ("processor time", duration(bill.cpu_seconds))]
    if bill.gpu_seconds is not None:
        rows.append(("GPU time", duration(bill.gpu_seconds)))
    rows.append(("peak memory", size(bill.peak_memory)))
    if bill.gpu_peak_memory is not None:
        rows.append(("GPU peak memory", size(bill.gpu_peak_memory)))
    rate = "unknown: set RAGTUNE_HOURLY_RATE" if bill.price is None else f"{bill.price:,.4g}"
    at = "" if bill.price is None or bill.hourly_rate is None else f", at {bill.hourly_rate:,g} an hour"
    share = bill.trainable_parameters / bill.total_parameters if bill.total_parameters else 0.0
    return [
        *rows,
        ("price", rate + at),
        (
            "tokens",
            f"{bill.tokens:,}, {bill.answer_tokens:,} of them in answers; {bill.tokens_per_second:,.0f} a second",
        ),
        ("parameters", f"{bill.trainable_parameters:,} trained of {bill.total_parameters:,}, {share:.2%}"),
        ("artefact", size(bill.artifact_bytes)),
        ("machine", bill.machine or "not recorded"),
    ]


def quality_rows(bill: Bill, steps: int) -> Rows:
    """The rate, the step that is published, the losses, and what they mean."""
    early = ", stopped early: the validation loss no longer fell" if bill.stopped_early else ""
    rows = [
        ("learning rate", f"{bill.learning_rate:g}{_searched(bill)}"),
        ("published", f"step {bill.best_step:,} of {steps:,}{early}"),
        ("loss", f"training {_loss(bill.train_loss)}, validation {_loss(bill.validation_loss)}, in nats a token"),
        ("overfitting", overfitting(bill)),
        ("forgetting", "not measured" if bill.forgetting is None else forgotten(bill.forgetting)),
    ]
    if bill.duplicates:
        rows.append(("duplicates", ", ".join(f"{kind}: {count:,}" for kind, count in bill.duplicates.items())))
    return rows


def task_rows(bill: Bill) -> Rows:
    """Each task, where there are several."""
    if len(bill.tasks) < 2:
        return []
    return [(f"task {name}", f"{drawn}; {said}") for name, drawn, said in interference_rows(bill.tasks)]


def provenance_rows(record: TrainingRecord) -> Rows:
    """What it was made from, so that it can be made again."""
    return [
        ("examples", f"{record.examples:,}"),
        ("data", f"sha256 {record.data_sha256}"),
        ("prompts", f"sha256 {record.rendering_hash}, template {record.template or 'built in'}"),
        ("index", record.index or "none: no passages in the prompts"),
        ("base weights", f"sha256 {record.base_fingerprint}"),
        ("seed", "not recorded" if record.seed is None else str(record.seed)),
        ("versions", ", ".join(f"{library} {version}" for library, version in record.versions.items())),
        ("trained", record.created),
    ]


def searched_rows(searched: tuple[SearchedRate, ...]) -> list[tuple[str, str, str]]:
    """Each rate that was tried, for how many steps, and the validation loss it reached."""
    return [
        (f"{tried.learning_rate:g}", f"{tried.steps:,}", _loss(tried.validation_loss, "diverged")) for tried in searched
    ]


def overfitting(bill: Bill) -> str:
    """Whether it overfits: the validation loss OVERFITS or more above the training loss, on as many examples."""
    if bill.train_loss is None or bill.validation_loss is None:
        return "not known: there is no validation loss"
    gap = bill.validation_loss - bill.train_loss
    where = f"validation loss {abs(gap):.2f} {'above' if gap >= 0 else 'below'} the training loss"
    verdict = "overfits" if gap >= OVERFITS else "does not overfit"
    return f"{where}: {verdict}, as the rule is {OVERFITS:.2f} nats a token or more above{_rise(bill)}"


def forgotten(measured: Forgetting) -> str:
    """Whether it forgets: FORGETS or more nats a token worse on general text, or over QUESTIONS_LOST of the answers
    gone."""
    rise = measured.loss - measured.base_loss
    asked, kept = measured.answered_by_base, measured.still_answered
    forgets = rise >= FORGETS or asked - kept > QUESTIONS_LOST * asked
    questions = (
        f"{kept} of {asked} general questions that the base model answers are still answered"
        if asked
        else "the base model answers no general question"
    )
    return (
        f"loss on general text {measured.base_loss:.2f} before, {measured.loss:.2f} after "
        f"({round(rise, 2) + 0.0:+.2f}), {questions}: "
        f"{'forgets' if forgets else 'does not forget'}, as the rule is {FORGETS:.2f} nats a token or more above, or "
        f"more than {QUESTIONS_LOST:.0%} of the answers lost"
    )


def duration(seconds: float) -> str:
    """`8.3 s`, `11 min 3 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 59.95 else "1 min 0 s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_ = divmod(minutes, 60)
    return f"{hours} h {minutes_} min" if hours else f"{minutes} min {rest} s"


def size(count: int) -> str:
    """Bytes as people say them: 812 bytes, 3.1 kB, 19.5 MB, 2.24 GB."""
    for unit, bytes_, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 1)):
        if count >= bytes_:
            return f"{count / bytes_:.{digits}f} {unit}"
    return f"{count} bytes"


def _cost_without_bill(record: TrainingRecord) -> Rows:
    return [
        ("time", f"{duration(record.seconds)} of training loop"),
        ("steps", f"{record.steps:,}"),
        ("tokens", f"{record.tokens:,}"),
        ("parameters", f"{record.trainable_parameters:,} trained"),
        ("loss", f"training {_loss(record.final_loss)}, in nats a token"),
    ]


def _searched(bill: Bill) -> str:
    tried = ", ".join(f"{rate} {loss}" for rate, _, loss in searched_rows(bill.searched))
    return f"; tried for {bill.searched[0].steps:,} steps each: {tried}" if tried else ""


def _rise(bill: Bill) -> str:
    """What the validation loss did after the step that is published."""
    looked = {point.step: point.validation for point in bill.curve if point.validation is not None}
    best, last = looked.get(bill.best_step), max(looked, default=0)
    if best is None or last <= bill.best_step or looked[last] - best < 0.005:
        return ""
    return (
        f"; it rose by {looked[last] - best:.2f} until step {last:,}, so the weights of step {bill.best_step:,} stand"
    )


def _loss(loss: float | None, missing: str = "not known") -> str:
    return missing if loss is None else f"{loss:.3f}"
