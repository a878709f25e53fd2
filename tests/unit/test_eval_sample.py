"""Which items a figure is made of."""

from eval.runfile import Item, Reply, Used
from eval.sample import Samples
from ragtune.examples import UNANSWERABLE
from ragtune.wire import Timings

REPLY = Reply(
    id="1",
    text="x",
    finish_reason="stop",
    resolved_mode="base",
    versions={},
    usage=Used(prompt_tokens=1, completion_tokens=1),
    timings=Timings(total_ms=1),
)


def item(name: str, of: str = "", *, alone: bool = False, warm_up: bool = False, reused: bool = False) -> Item:
    return Item(
        arm="a",
        task="t",
        example=name,
        slice=of,
        query="q",
        answers=("x",),
        reply=REPLY,
        alone=alone,
        warm_up=warm_up,
        reused=reused,
    )


def test_a_score_is_of_all_slices_that_can_be_answered_and_each_is_a_part_of_its_own() -> None:
    samples = Samples([item("1", "hard"), item("2", "easy"), item("3"), item("4", UNANSWERABLE)])
    assert samples.part("a", "t").examples == {"1", "2", "3"}
    assert samples.part("a", "t", "hard").examples == {"1"}
    assert samples.part("a", "t", UNANSWERABLE).examples == {"4"}


def test_times_under_load_are_of_what_was_asked_beside_others() -> None:
    items = [item("1", warm_up=True), item("2", alone=True), item("3", reused=True), item("4")]
    assert len(Samples(items).whole("a").loaded) == 1
