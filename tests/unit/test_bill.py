"""The bill in words: every rule it states, on numbers at hand."""

import json
from pathlib import Path

import pytest

from adapters.bill import NO_BILL, bill_rows, duration, forgotten, overfitting, size
from adapters.bill_page import bill_page, write_bill
from adapters.curve import thinned
from adapters.fingerprint import file_sha256
from adapters.interference import interference, interference_rows
from adapters.manifest import Bill, CurvePoint, Forgetting, SearchedRate, TaskBill, TrainingRecord

CURVE = [
    CurvePoint(step=s, loss=2 / s, validation=0.5 + abs(s - 30) / 100 if s % 10 == 0 else None) for s in range(1, 61)
]
BILL = Bill(
    wall_seconds=700,
    search_seconds=100,
    cpu_seconds=1300,
    peak_memory=2_240_000_000,
    tokens=120_000,
    answer_tokens=9_000,
    tokens_per_second=528.4,
    trainable_parameters=4_884_480,
    total_parameters=139_400_448,
    artifact_bytes=19_560_000,
    hourly_rate=0.9,
    price=0.175,
    learning_rate=5e-4,
    searched=(
        SearchedRate(learning_rate=1e-4, steps=40, validation_loss=0.81),
        SearchedRate(learning_rate=5e-4, steps=40, validation_loss=0.52),
        SearchedRate(learning_rate=2e-3, steps=40, validation_loss=None),
    ),
    best_step=30,
    stopped_early=True,
    train_loss=0.21,
    validation_loss=0.52,
    tasks={
        "facts": TaskBill(examples=300, share=0.75, validation_loss=0.52, alone=0.50),
        "a|b": TaskBill(examples=100, share=0.25, validation_loss=None),
    },
    forgetting=Forgetting(base_loss=3.6, loss=3.65, answered_by_base=23, still_answered=22),
    curve=thinned(CURVE),
    duplicates={"exact, train and validation": 2},
    machine="2 processors, 2 threads, no accelerator",
)
RECORD = TrainingRecord(
    base_fingerprint="b" * 64,
    base_id="SmolLM2-135M-Instruct",
    method="lora",
    recipe={"name": "support-lora", "method": "lora", "train": "a```b.jsonl"},
    data_sha256="d" * 64,
    rendering_hash="e" * 64,
    template=None,
    index="handbook@3",
    seconds=600,
    steps=60,
    examples=400,
    tokens=120_000,
    trainable_parameters=4_884_480,
    final_loss=0.2,
    seed=7,
    bill=BILL,
    versions={"torch": "2.13.0", "peft": "0.21.2"},
    created="2026-01-02T03:04:05+00:00",
)


def bill(**changed: object) -> Bill:
    return Bill.model_validate(BILL.model_dump() | changed)


def test_the_rows_say_cost_quality_and_where_it_came_from() -> None:
    rows = dict(bill_rows(RECORD))
    assert rows["time"] == "11 min 40 s, 1 min 40 s of it searching for the learning rate"
    assert rows["processor time"] == "21 min 40 s"
    assert rows["peak memory"] == "2.24 GB"
    assert rows["price"] == "0.175, at 0.9 an hour"
    assert rows["tokens"] == "120,000, 9,000 of them in answers; 528 a second"
    assert rows["parameters"] == "4,884,480 trained of 139,400,448, 3.50%"
    assert rows["artefact"] == "19.6 MB"
    assert rows["learning rate"] == "0.0005; tried for 40 steps each: 0.0001 0.810, 0.0005 0.520, 0.002 diverged"
    assert rows["published"] == "step 30 of 60, stopped early: the validation loss no longer fell"
    assert rows["loss"] == "training 0.210, validation 0.520, in nats a token"
    assert rows["duplicates"] == "exact, train and validation: 2"
    assert rows["task facts"] == "300 examples, 75%; together 0.52, alone 0.50: +0.02"
    assert (rows["seed"], rows["versions"]) == ("7", "torch 2.13.0, peft 0.21.2")
    assert "GPU time" not in rows


def test_a_gpu_has_rows_of_its_own_and_an_unknown_price_says_what_to_set() -> None:
    rows = dict(bill_rows(RECORD.model_copy(update={"bill": bill(gpu_seconds=3_900, gpu_peak_memory=9e9, price=None)})))
    assert (rows["GPU time"], rows["GPU peak memory"]) == ("1 h 5 min", "9.00 GB")
    assert rows["price"] == "unknown: set RAGTUNE_HOURLY_RATE"


def test_a_version_trained_before_there_were_bills_says_so_and_what_it_knows() -> None:
    old = RECORD.model_copy(update={"bill": None})
    rows = dict(bill_rows(old))
    assert rows["bill"] == NO_BILL
    assert (rows["time"], rows["steps"], rows["data"]) == ("10 min 0 s of training loop", "60", "sha256 " + "d" * 64)


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (0.21, 0.52, "validation loss 0.31 above the training loss: overfits, as the rule is 0.10 nats"),
        (0.50, 0.52, "validation loss 0.02 above the training loss: does not overfit"),
        (0.55, 0.52, "validation loss 0.03 below the training loss: does not overfit"),
        (None, 0.52, "not known: there is no validation loss"),
    ],
)
def test_overfitting_is_a_validation_loss_well_above_the_training_loss(
    train: float | None, validation: float, words: str
) -> None:
    assert overfitting(bill(train_loss=train, validation_loss=validation)).startswith(words)


def test_a_validation_loss_that_rose_after_the_published_step_is_told() -> None:
    assert overfitting(BILL).endswith("; it rose by 0.30 until step 60, so the weights of step 30 stand")
    assert "rose" not in overfitting(bill(best_step=60))
    assert "rose" not in overfitting(bill(curve=()))


@pytest.mark.parametrize(
    ("loss", "still", "verdict"),
    [(3.65, 23, "does not forget"), (3.55, 21, "does not forget"), (3.75, 23, "forgets"), (3.6, 20, "forgets")],
)
def test_forgetting_is_a_worse_loss_on_general_text_or_answers_lost(loss: float, still: int, verdict: str) -> None:
    words = forgotten(Forgetting(base_loss=3.6, loss=loss, answered_by_base=23, still_answered=still))
    assert f": {verdict}, as the rule is" in words
    assert f"({loss - 3.6:+.2f}), {still} of 23 general questions" in words


def test_a_base_model_that_answers_nothing_cannot_forget_answers() -> None:
    words = forgotten(Forgetting(base_loss=3.6, loss=3.6, answered_by_base=0, still_answered=0))
    assert "answers no general question: does not forget" in words


@pytest.mark.parametrize(
    ("together", "alone", "words"),
    [
        (0.52, 0.50, "together 0.52, alone 0.50: +0.02"),
        (0.48, 0.50, "together 0.48, alone 0.50: -0.02"),
        (0.524, 0.496, "together 0.52, alone 0.50: +0.02"),
        (0.52, None, "together 0.52, not trained alone"),
        (None, 0.50, "not known: no validation example is of this task"),
    ],
)
def test_interference_is_the_loss_together_less_the_loss_alone(
    together: float | None, alone: float | None, words: str
) -> None:
    assert interference(TaskBill(examples=1, share=1, validation_loss=together, alone=alone)) == words


def test_each_task_has_a_row_and_a_single_one_none() -> None:
    assert [row[:2] for row in interference_rows(BILL.tasks)] == [
        ("facts", "300 examples, 75%"),
        ("a|b", "100 examples, 25%"),
    ]
    single = bill(tasks={"facts": BILL.tasks["facts"]})
    assert not [name for name, _ in bill_rows(RECORD.model_copy(update={"bill": single})) if name.startswith("task")]


def test_the_run_folder_gets_the_page_with_plot_numbers_and_the_hash_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    RECORD.write(tmp_path)
    write_bill(RECORD, tmp_path, CURVE, tmp_path / "cache")
    page = (tmp_path / "bill.md").read_text()
    assert page.startswith("# Bill of support-lora\n\nlora on SmolLM2-135M-Instruct\n")
    assert "](loss.svg)" in page and "[curve.csv](curve.csv)" in page
    for name in ("adapter_model.safetensors", "ragtune.json", "curve.csv", "loss.svg"):
        path = tmp_path / name
        shown = name.replace("_", "\\_")
        assert f"| {shown} | {path.stat().st_size:,} | {file_sha256(path)} |" in page
    assert "| 0.002 | 40 | diverged |" in page
    assert "| facts | 300 examples, 75% | together 0.52, alone 0.50: +0.02 |" in page
    assert "overfits" in page and "does not forget" in page
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 61


def test_words_of_others_stay_in_their_cell_and_the_recipe_in_its_block(tmp_path: Path) -> None:
    page = bill_page(RECORD, tmp_path)
    assert "| a\\|b | 100 examples" in page
    block = page.split("````json\n")[1].split("\n````")[0]
    assert json.loads(block) == RECORD.recipe
    assert "loss.svg" not in page  # as there is none in this folder


def test_the_page_of_a_training_without_a_bill_says_so(tmp_path: Path) -> None:
    page = bill_page(RECORD.model_copy(update={"bill": None}), tmp_path, "old@1")
    assert page.startswith("# Bill of old@1\n") and f"The bill: {NO_BILL}." in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (63.4, "1 min 3 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(812, "812 bytes"), (3_100, "3.1 kB"), (19_560_000, "19.6 MB"), (2_240_000_000, "2.24 GB")]
)
def test_sizes_read_well(count: int, words: str) -> None:
    assert size(count) == words
