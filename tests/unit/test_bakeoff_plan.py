"""Planning a bake-off: how much fits into a budget, in which order, and what is said of the rest."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from eval.metrics import METRICS
from eval.needs import SCORED, needs
from ragtune.bakeoff.arms import FEW, LIKELIHOODS, SAMPLE, Trained, arms, sampled
from ragtune.bakeoff.outcome import Best, Ruling, bests
from ragtune.bakeoff.plan import LEAST_ITEMS, WISHES, Effort, Estimator, in_minutes, plan, planned, rows
from ragtune.bakeoff.probe import Probe, Probed
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.technique import DEFAULT, TECHNIQUES, chosen
from ragtune.errors import InvalidRequest, UnknownName
from ragtune.examples import Example


def task(name: str, heldout: int = 120) -> Task:
    train = tuple(Example(id=f"t{n}", query=f"{n}?", answers=(f"answer {n}",)) for n in range(40))
    held = tuple(Example(id=f"h{n}", query=f"{n}!", answers=("so",), gold_documents=("a.md",)) for n in range(heldout))
    return Task(name, train, held, ("token_f1",))


def probed(found: float) -> Probed:
    return Probed(prompt_tokens=50, passage_tokens=180, new_tokens=10, found=found, searched=40, passages={})


def estimator(speed: float = 500.0, heldout: int = 120) -> Estimator:
    tasks = (task("facts", heldout), task("listings", heldout))
    seen = Probe(tokens_per_second=speed, tasks={"facts": probed(0.9), "listings": probed(0.1)})
    return Estimator(tasks, seen)


def test_every_technique_gets_the_same_steps_and_batches_of_a_task() -> None:
    made = plan(estimator(), 3600)
    assert len({training.batch_tokens for training in made.trainings if training.task == "facts"}) == 1
    texts = [
        TECHNIQUES[training.technique].recipe(task("facts"), Path("a"), Path("b"), None, made.effort.steps, 400)
        for training in made.trainings
    ]
    assert all(f"max_steps = {made.effort.steps}\n" in text for text in texts)


@pytest.mark.parametrize("budget", range(600, 12_000, 300))
def test_no_plan_exceeds_its_budget(budget: int) -> None:
    assert plan(estimator(), budget).seconds <= budget


def test_more_time_never_means_less_of_anything() -> None:
    made = [plan(estimator(), budget).effort for budget in range(600, 12_000, 200)]
    for less, more in pairwise(made):
        assert len(more.techniques) >= len(less.techniques) or more.steps >= less.steps
    assert made[0].steps < made[-1].steps and made[-1].rates == 2


def test_techniques_are_planned_in_the_order_of_usefulness() -> None:
    least = planned(estimator(), Effort(techniques=("lora",))).seconds
    assert plan(estimator(), least + 1).effort.techniques == ("lora",)
    assert plan(estimator(), 100_000).effort.techniques == tuple(TECHNIQUES)
    order = [(training.technique, training.task) for training in plan(estimator(), 1500).trainings]
    assert order[:2] == [("lora", "facts"), ("lora", "listings")]


def test_a_budget_too_short_for_anything_says_how_long_it_takes() -> None:
    with pytest.raises(InvalidRequest, match=r"needs at least \d+\.\d min: \d+\.\d min for one technique"):
        plan(estimator(), 60)


def test_what_is_left_out_is_said_with_what_it_would_take() -> None:
    made = plan(estimator(), planned(estimator(), Effort()).seconds + 1)
    said = {left.what: left.why for left in made.left_out}
    assert any(what.startswith("dora") for what in said)
    assert "takes" in said["a second learning rate for every training"]
    assert said[f"held-out questions of facts beyond {LEAST_ITEMS} of each slice"] == "there are 120"


def test_nothing_is_said_to_be_left_out_where_every_slice_is_asked_whole() -> None:
    held = [Example(id=f"h{n}", query=f"{n}!", answers=("so",), slice=f"part {n % 4}") for n in range(100)]
    made = Estimator(
        (replace(task("facts"), heldout=tuple(held)),), Probe(tokens_per_second=500, tasks={"facts": probed(1)})
    )
    assert not any("held-out" in left.what for left in plan(made, 3600).left_out)


def test_as_many_requests_are_under_way_as_are_answered_in_time() -> None:
    assert [estimator(speed).at_once(110) for speed in (1000.0, 50.0, 0.5)] == [48, 14, 1]


def test_trainings_are_given_as_many_examples_as_their_steps_can_see() -> None:
    made = estimator()
    one = replace(task("facts"), train=tuple(task("facts").train * 100))
    assert made.seen(task("facts"), 24) == 40
    assert 24 * 3 < made.seen(one, 24) < 250 and made.seen(one, 48) > made.seen(one, 24)


def test_only_the_techniques_asked_for_are_planned() -> None:
    made = plan(estimator(), 100_000, ("ia3",))
    assert made.effort.techniques == ("ia3",)
    assert {training.technique for training in made.trainings} == {"ia3"}
    with pytest.raises(UnknownName, match="did you mean 'lora'"):
        chosen(["lorra"])


def test_a_slower_machine_does_less() -> None:
    fast, slow = (plan(estimator(speed), 2400) for speed in (1000.0, 300.0))
    assert (fast.effort.steps, fast.effort.items) > (slow.effort.steps, slow.effort.items)


def test_a_task_that_retrieval_serves_is_trained_on_passages_and_another_is_not() -> None:
    by_task = {training.task: training for training in plan(estimator(), 3600).trainings}
    assert by_task["facts"].passages and not by_task["listings"].passages
    shown = {name: how for name, how, _ in rows(plan(estimator(), 3600), {"the index": 12.0})}
    assert "on retrieved passages" in shown["facts-lora"] and "closed-book" in shown["listings-lora"]
    assert shown["the index"] == "done"


def test_a_training_that_is_left_out_is_out_of_the_plan_and_said() -> None:
    made = plan(estimator(), 3600)
    less = made.without(made.trainings[0], "no time")
    assert len(less.trainings) == len(made.trainings) - 1
    assert (less.left_out[-1].what, less.left_out[-1].why) == ("lora for facts", "no time")


def test_minutes_are_rounded_up() -> None:
    assert [in_minutes(seconds) for seconds in (0, 6, 6.1, 90)] == ["0.0 min", "0.1 min", "0.2 min", "1.5 min"]
    assert len(WISHES) == 7


TEMPLATES = {"facts": ("facts-few-shot", "facts-few-shot-passages"), "listings": ("listings-few-shot",) * 2}
SERVED = {"facts": True, "listings": False}


def made_arms(*trained: Trained, combined: bool = False, helped: tuple[str, ...] = ()) -> dict[str, dict[str, int]]:
    tasks = estimator().tasks
    found = arms(tasks, SERVED, TEMPLATES, trained, items=100, combined=combined, helped=helped)  # type: ignore[arg-type]
    return {arm.name: dict(arm.items) for arm in found}


def test_by_default_prompting_retrieval_and_every_adapter_are_asked_alone_and_with_retrieval() -> None:
    trained = [Trained(name, technique) for technique in DEFAULT for name in ("facts", "listings")]
    found = made_arms(*trained)
    for adapter in (one.adapter for one in trained):
        assert {adapter, f"{adapter}+rag"} <= found.keys()
    assert found["base"] == {"facts": 100, "listings": 100}
    assert found["rag"] == {"facts": 100, "listings": FEW}
    assert found["prompt:facts-few-shot-passages+rag"] == {"facts": 100}
    assert found["listings-lora"] == {"listings": 100} and found["listings-lora+rag"] == {"listings": FEW}


def test_where_passages_may_help_retrieval_is_asked_in_full_though_it_does_not_serve() -> None:
    found = made_arms(Trained("listings", "lora"), helped=("listings",))
    assert found["rag"] == {"facts": 100, "listings": 100}
    assert found["listings-lora+rag"] == found["listings-lora"] == {"listings": 100}
    assert found["prompt:listings-few-shot+rag"] == {"listings": 100}


def test_arms_that_were_asked_a_sample_are_named_and_controls_are_not() -> None:
    asked = arms(estimator().tasks, SERVED, TEMPLATES, [Trained("facts", "lora")], items=100, combined=False)  # type: ignore[arg-type]
    assert sampled(asked, "facts") == ("prompt:facts-few-shot", "facts-lora")


def test_metrics_of_likelihoods_have_no_ladder_as_they_are_not_told_of_given_passages() -> None:
    assert {name for name in METRICS if needs([name]) & SCORED} == LIKELIHOODS
    one = replace(task("facts"), metrics=("perplexity",))
    assert not any(arm.context != "retrieved" for arm in arms([one], SERVED, TEMPLATES, [], items=9, combined=False))  # type: ignore[arg-type]


def test_controls_are_a_sample_where_gold_documents_are_named_and_retrieval_serves() -> None:
    found = made_arms()
    assert found["rag, gold"] == found["rag, wrong"] == found["rag, none"] == {"facts": SAMPLE}
    assert found["base, told the form of listings"] == {"listings": SAMPLE}


def test_a_lora_and_a_soft_prompt_are_asked_together_where_both_are_there() -> None:
    both = [Trained("facts", "lora"), Trained("facts", "soft-prompt")]
    assert "facts-lora+facts-soft-prompt+rag" in made_arms(*both, combined=True)
    assert not any("+facts-soft" in name for name in made_arms(*both))
    assert not any("+facts-soft" in name for name in made_arms(both[0], combined=True))


def test_best_is_one_alias_where_all_tasks_want_the_same_and_pinned() -> None:
    asked = arms(estimator().tasks, SERVED, TEMPLATES, [Trained("facts", "lora")], items=30, combined=False)  # type: ignore[arg-type]
    versions = {"facts-lora": "facts-lora@3", "facts-few-shot-passages": "facts-few-shot-passages@2"}
    facts, listings = Ruling(task="facts", chosen="facts-lora+rag"), Ruling(task="listings", chosen="base")
    assert bests([facts], asked, versions) == (Best(alias="best", mode="facts-lora@3+rag"),)
    assert [best.alias for best in bests([facts, listings], asked, versions)] == ["best-facts", "best-listings"]
    prompt = Ruling(task="facts", chosen="prompt:facts-few-shot-passages+rag")
    assert bests([prompt], asked, versions)[0].mode == "prompt:facts-few-shot-passages@2+rag"


def test_a_control_and_no_choice_at_all_are_nothing_to_serve() -> None:
    asked = arms(estimator().tasks, SERVED, TEMPLATES, [], items=30, combined=False)  # type: ignore[arg-type]
    assert bests([Ruling(task="facts", chosen="base, told the form of facts")], asked, {}) == ()
    assert bests([Ruling(task="facts")], asked, {}) == ()
