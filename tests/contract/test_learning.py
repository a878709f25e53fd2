"""Learning: looks, the best weights, early stopping, searching, and going on to the same result."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from adapters.answer_loss import task_losses, together
from adapters.base_model import BaseModelInfo
from adapters.dataset import Item
from adapters.learning import Learned, learn
from adapters.learning_state import STATE_FILE, StateFile
from adapters.mixing import plan
from adapters.recipe import Recipe
from adapters.run_folder import identity_of
from adapters.techniques import begin
from adapters.techniques.trainee import Trainee
from adapters.training_loop import factor, optimise, optimiser_for, pieces
from adapters.trials import alone, best_rate, search
from ragtune.errors import Cancelled, RefusedArtifact, StorageFull
from tests.tiny_training import EVERY, PAD, TASKS, base_in, batch_loss, items, recipe, silent, steps

FIRST = {  # nats a token
    "full": (6.32141, 6.18744, 6.63815),
    "partial": (6.32141, 6.18665, 6.63819),
    "lora": (6.32141, 6.18122, 6.61586),
    "dora": (6.32141, 6.18371, 6.59451),
    "ia3": (6.32141, 6.1947, 6.64932),
    "prompt_tuning": (6.51662, 6.44621, 5.96607),
    "p_tuning": (6.24468, 5.7864, 5.99989),
    "prefix_tuning": (6.73625, 6.11524, 6.58883),
}
VALIDATION = items(4, 90)


class Stop:
    """A watch that ends the training after some step, as a cancelled job does."""

    def __init__(self, after: int, how: BaseException) -> None:
        self.after, self.how, self.seen = after, how, list[Mapping[str, float]]()

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        self.seen.append(figures)
        if done == self.after:
            raise self.how


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    return base_in(tmp_path_factory.mktemp("base"))


def run(wanted: Recipe, base: BaseModelInfo, validation: list[Item] = VALIDATION) -> tuple[Trainee, Learned]:
    trainee = begin(wanted, base, "cpu")
    return trainee, learn(trainee, steps(wanted), validation, wanted, pad=PAD, watch=silent)


def test_the_first_losses_are_those_recorded(base: BaseModelInfo) -> None:
    found = {method: [point.loss for point in run(recipe(method), base)[1].curve[:3]] for method in EVERY}
    assert found.keys() == FIRST.keys()
    for method, losses in found.items():
        assert losses == pytest.approx(FIRST[method], abs=1e-4), method


@pytest.mark.parametrize("method", EVERY)
def test_interrupted_and_resumed_equals_uninterrupted(base: BaseModelInfo, tmp_path: Path, method: str) -> None:
    wanted = recipe(method, checkpoint_every=3, schedule="cosine", warmup=0.3, weight_decay=0.1, accumulate=2)
    whole, expected = run(wanted, base)
    states = StateFile(tmp_path, "same")
    for after, how in ((2, Cancelled("enough")), (5, KeyboardInterrupt())):
        with pytest.raises(type(how)):
            learn(
                begin(wanted, base, "cpu"),
                steps(wanted),
                VALIDATION,
                wanted,
                pad=PAD,
                watch=Stop(after, how),
                states=states,
            )
    resumed = begin(wanted, base, "cpu")
    learned = learn(resumed, steps(wanted), VALIDATION, wanted, pad=PAD, watch=silent, states=states)
    assert replace(learned, seconds=0) == replace(expected, seconds=0)
    for name, values in whole.copy().items():
        assert torch.equal(resumed.copy()[name], values), name


def test_a_process_that_is_killed_goes_on_to_the_same_result(base: BaseModelInfo, tmp_path: Path) -> None:
    wanted = recipe("lora", checkpoint_every=2)
    command = [sys.executable, "-m", "tests.tiny_training", str(tmp_path), "lora"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as it:
        assert it.stdout is not None
        for line in it.stdout:
            if line == "5\n":
                it.send_signal(signal.SIGKILL)
    assert it.returncode == -signal.SIGKILL

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, expected = run(wanted, base)
        resumed, seen = begin(wanted, base, "cpu"), Stop(99, AssertionError())
        states = StateFile(tmp_path / "run", "same")
        learned = learn(resumed, steps(wanted), VALIDATION, wanted, pad=PAD, watch=seen, states=states)
    finally:
        torch.set_num_threads(threads)
    assert len(seen.seen) == 4  # from step 4, the last one saved
    assert replace(learned, seconds=0) == replace(expected, seconds=0)
    assert all(torch.equal(resumed.copy()[name], values) for name, values in whole.copy().items())


def test_another_training_starts_anew_and_says_so(
    base: BaseModelInfo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = recipe("ia3")
    learn(begin(wanted, base, "cpu"), steps(wanted), [], wanted, pad=PAD, watch=silent, states=StateFile(tmp_path, "a"))
    seen = Stop(99, AssertionError())
    for content in (None, b"torn"):
        if content is not None:
            (tmp_path / STATE_FILE).write_bytes(content)
        states = StateFile(tmp_path, "b" if content is None else "a")
        learn(begin(wanted, base, "cpu"), steps(wanted), [], wanted, pad=PAD, watch=seen, states=states)
    told = capsys.readouterr().err
    assert "another recipe, data or base model; starting anew" in told and "cannot be read" in told
    assert len(seen.seen) == 16
    states.remove()
    assert list(tmp_path.iterdir()) == []


def test_recipe_data_and_base_model_make_a_trainings_identity() -> None:
    one = identity_of(recipe("lora"), "data", "base")
    assert one == identity_of(recipe("lora"), "data", "base")
    others = [(recipe("dora"), "data", "base"), (recipe("lora"), "other", "base"), (recipe("lora"), "data", "other")]
    assert one not in {identity_of(*other) for other in others}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_ends_a_training_and_leaves_what_was_saved(base: BaseModelInfo, tmp_path: Path) -> None:
    wanted = recipe("lora", checkpoint_every=2)
    states = StateFile(tmp_path, "same")

    def fill(_stage: str, done: int, _total: int, _figures: Mapping[str, float]) -> None:
        if done == 2:
            (tmp_path / "learning.new").symlink_to("/dev/full")

    arguments = (steps(wanted), VALIDATION, wanted)
    with pytest.raises(StorageFull, match="is full; nothing was published, and what was saved before stays"):
        learn(begin(wanted, base, "cpu"), *arguments, pad=PAD, watch=fill, states=states)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
    seen = Stop(99, AssertionError())
    learn(begin(wanted, base, "cpu"), *arguments, pad=PAD, watch=seen, states=states)
    assert len(seen.seen) == 6


def test_the_weights_kept_are_the_best_ones_looked_at(base: BaseModelInfo) -> None:
    wanted = recipe("lora", learning_rate=3e-2, evaluations=8, patience=8)
    trainee, learned = run(wanted, base)
    looked = {point.step: point.validation for point in learned.curve}
    assert all(loss is not None for loss in looked.values()) and not learned.stopped_early
    assert learned.validation == min(looked.values()) == looked[learned.best_step]  # type: ignore[type-var]
    again = task_losses(trainee.model, VALIDATION, PAD, wanted.batch_tokens)
    assert {task: loss.mean for task, loss in again.items()} == learned.tasks and set(again) == set(TASKS)
    assert together(list(again.values())).mean == learned.validation


def test_looks_without_a_gain_end_a_training(base: BaseModelInfo) -> None:
    _, learned = run(recipe("lora", learning_rate=1e-30, evaluations=8, patience=2), base)
    assert learned.stopped_early and (learned.steps, learned.best_step) == (3, 1)


def test_by_default_a_training_that_gains_nothing_ends_before_its_last_step(base: BaseModelInfo) -> None:
    _, learned = run(recipe("lora", learning_rate=1e-30), base)
    assert learned.stopped_early and (learned.steps, learned.best_step) == (6, 2)


def test_without_validation_the_last_weights_are_kept(base: BaseModelInfo) -> None:
    _, learned = run(recipe("lora"), base, [])
    assert (learned.best_step, learned.validation, learned.tasks) == (8, None, {})
    tokens = sum(item.length for step in steps(recipe("lora")) for batch in step for item in batch)
    assert (learned.tokens == tokens and learned.answer_tokens == 3 * tokens // (tokens // 3)) or learned.answer_tokens


def test_accumulated_batches_make_the_step_of_one_large_one(base: BaseModelInfo) -> None:
    wanted, few = recipe("full"), items(6)
    found = []
    for batches in ([few], [few[:1], few[1:4], few[4:]]):
        trainee = begin(wanted, base, "cpu")
        loss, norm = optimise(trainee.model, batches, optimiser_for(trainee, wanted), 1e-3, 1.0, PAD)
        found.append((loss, norm, trainee.copy()))
    assert found[1][:2] == pytest.approx(found[0][:2], rel=1e-5)
    start = begin(wanted, base, "cpu").copy()
    for name, values in found[0][2].items():
        assert (values != start[name]).any()


def test_on_a_cpu_a_large_batch_goes_through_in_pieces_of_like_length() -> None:
    lengths = (300, 40, 50, 700, 200, 60)
    batch = [Item(str(n), (5,) * (length - 1), (6,)) for n, length in enumerate(lengths)]
    found = [[item.length for item in piece] for piece in pieces([batch, batch[:1]], torch.device("cpu"))]
    assert found == [[40, 50, 60], [200], [300], [700], [300]]
    assert list(pieces([batch], torch.device("cuda"))) == [batch]


def test_norms_and_biases_do_not_decay(base: BaseModelInfo) -> None:
    wanted = recipe("full", weight_decay=0.5)
    trainee = begin(wanted, base, "cpu")
    start = trainee.copy()
    optimiser = optimiser_for(trainee, wanted)
    for parameter in trainee.learned.values():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    optimiser.step()
    for name, values in trainee.copy().items():
        torch.testing.assert_close(values, start[name] * (0.95 if values.dim() > 1 else 1.0))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_are_those_of_transformers_but_for_the_first_step_of_a_warm_up(schedule: str) -> None:
    def theirs(warmup: int, total: int) -> list[float]:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        name = "constant_with_warmup" if schedule == "constant" else schedule
        made, rates = get_scheduler(name, optimiser, num_warmup_steps=warmup, num_training_steps=total), []
        for _ in range(total):
            rates.append(made.get_last_lr()[0])
            optimiser.step()
            made.step()
        return rates

    assert [factor(schedule, step, 20, 0.0) for step in range(20)] == pytest.approx(theirs(0, 20))
    assert [factor(schedule, step, 20, 0.2) for step in range(20)] == pytest.approx(theirs(5, 21)[1:])


def test_a_first_loss_far_above_chance_is_taken_for_a_mistake(base: BaseModelInfo) -> None:
    wanted = recipe("full")
    trainee = begin(wanted, base, "cpu")
    with torch.no_grad():
        trainee.learned["model.norm.weight"].mul_(30)
    with pytest.raises(RefusedArtifact, match=r"starts at .* guessing evenly gives 5\.77"):
        learn(trainee, steps(wanted), [], wanted, pad=PAD, watch=silent)


def test_a_training_that_diverges_says_so(base: BaseModelInfo) -> None:
    with pytest.raises(RefusedArtifact, match=r"diverged at step .* Try a learning_rate below 0.0005"):
        run(recipe("lora", lora={"alpha": 1e30}), base)


def test_a_search_tries_every_rate_from_the_same_start(base: BaseModelInfo) -> None:
    wanted = recipe("lora", lora={"rank": 4, "alpha": 1e4})
    trainee = begin(wanted, base, "cpu")
    start, watch = trainee.copy(), Stop(99, AssertionError())
    rates = (1e-7, 1e-5, 1e30)
    searched = search(trainee, steps(wanted), VALIDATION, wanted, rates=rates, pad=PAD, watch=watch)
    assert [s.learning_rate for s in searched] == list(rates) and {s.steps for s in searched} == {8}
    assert searched[2].validation_loss is None
    for tried in searched[:2]:
        _, learned = run(wanted.model_copy(update={"learning_rate": tried.learning_rate, "evaluations": 1}), base)
        assert tried.validation_loss == learned.validation
    assert best_rate(searched) in rates[:2]
    assert all(torch.equal(trainee.copy()[name], values) for name, values in start.items())
    with pytest.raises(RefusedArtifact, match=r"diverged at every learning rate tried"):
        best_rate(searched[2:])
    (without,) = search(trainee, steps(wanted), [], wanted, rates=rates[:1], pad=PAD, watch=silent)
    assert without.validation_loss is not None


def test_each_task_alone_gets_as_many_of_its_examples(base: BaseModelInfo) -> None:
    wanted = recipe("lora", epochs=2)
    trainee, watch = begin(wanted, base, "cpu"), Stop(99, AssertionError())
    both = plan(items(), wanted)
    losses = alone(trainee, items(), both, VALIDATION, wanted, rate=1e-2, pad=PAD, watch=watch)
    assert set(losses) == set(TASKS)
    own = [item for item in items() if item.task == "words"]
    only = begin(wanted, base, "cpu")
    learned = learn(
        only,
        plan(own, wanted),
        [item for item in VALIDATION if item.task == "words"],
        wanted,
        pad=PAD,
        watch=silent,
        rate=1e-2,
    )
    assert losses["words"] == learned.validation
    with torch.no_grad():
        assert float(batch_loss(trainee.model, own, PAD)) != float(batch_loss(only.model, own, PAD))
