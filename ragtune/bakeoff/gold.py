"""Held-out examples as they are answered by retrieval: without the text they stand on, which nobody has at hand when a
question is asked, and with the documents that hold it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ragtune.bakeoff.task import Task

_TEXTS = (".md", ".markdown", ".txt")  # documents whose text stands in the file as it is


def without_contexts(task: Task, docs: Path) -> Task:
    """The task, whose held-out examples bring no context; those that named no document name the first one of `docs`
    in which their context stands, if any does."""
    if not any(example.context for example in task.heldout):
        return task
    texts = {path.relative_to(docs).as_posix(): _plain(_read(path)) for path in _documents(docs)}
    found: dict[str, tuple[str, ...]] = {}
    heldout = []
    for example in task.heldout:
        if example.context and example.context not in found:
            context = _plain(example.context)
            found[example.context] = tuple(name for name, text in texts.items() if context in text)[:1]
        documents = example.gold_documents or found.get(example.context, ())
        heldout.append(example.model_copy(update={"context": "", "gold_documents": documents}))
    return replace(task, heldout=tuple(heldout))


def told(before: Task, after: Task) -> str:
    """What became of the contexts, in words."""
    brought = Counter(bool(example.gold_documents) for example in after.heldout)
    contexts = sum(bool(example.context) for example in before.heldout)
    return (
        f"{before.name}: {contexts} held-out questions are asked without the context they bring, as retrieval serves "
        f"the task; the documents that hold it are known for {brought[True]} of {len(after.heldout)}"
    )


def _documents(docs: Path) -> list[Path]:
    return sorted(path for path in docs.rglob("*") if path.suffix.lower() in _TEXTS and path.is_file())


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _plain(text: str) -> str:
    return " ".join(text.split())
