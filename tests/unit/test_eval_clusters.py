"""Which examples are not independent of each other."""

from typing import Any

from eval.clusters import clusters
from ragtune.examples import Example


def example(name: str, said: str = "", **more: Any) -> Example:
    history = [{"role": "user", "content": said}, {"role": "assistant", "content": "Yes."}] if said else []
    return Example.model_validate({"id": name, "query": f"{name}?", "answers": ["x"], "history": history, **more})


def test_the_turns_of_a_conversation_are_together() -> None:
    found = clusters([example("a"), example("b", "a?"), example("c", "a?"), example("d", "d?"), example("e")])
    assert found["a"] == found["b"] == found["c"] == "a"
    assert len({found["a"], found["d"], found["e"]}) == 3


def test_a_conversation_is_together_with_what_stands_on_its_first_document() -> None:
    documents = {"gold_documents": ["a.md"]}
    found = clusters([example("a", "Hm?", **documents), example("b", "Hm?"), example("c", **documents)])
    assert set(found.values()) == {"a.md"}


def test_examples_that_stand_on_one_text_are_together() -> None:
    found = clusters([example("a", context="It is x."), example("b", context="It is x."), example("c", context="No.")])
    assert found["a"] == found["b"] != found["c"]
