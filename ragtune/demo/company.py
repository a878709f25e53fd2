"""Brevanta, a company that does not exist: its documents, and labelled examples for two tasks.

Everything is written by a seeded generator, so no model can have read it. The generator and its seed were frozen
before the first evaluation; a test pins the hash of all it writes. Train and held-out questions are about different
documents, in different wordings; all documents are in the knowledge base.

    python -m ragtune.demo.company FOLDER
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtune.demo.extraction import listings
from ragtune.demo.facts import POLICY, PRODUCT, SITE, TERM, Fact, Kind
from ragtune.demo.names import Names
from ragtune.examples import Example

SEED = 20261124
UNANSWERABLE = "Not in the documents."
_WRITTEN = ("id", "query", "answers", "task", "gold_documents", "slice")  # of an example, in order: it is frozen
PRODUCTS, SITES, POLICIES, TERM_FILES, TERMS_A_FILE = 66, 12, 16, 6, 6
STATED = 8  # of the kinds of facts a product can have; the others are asked as unanswerable questions
TRAIN_SHARE = 0.66
KNOWLEDGE = {False: (320, 40), True: (150, 30)}  # held out? -> (answerable, unanswerable)
EXTRACTION = {False: 360, True: 120}

_DEVICES = (
    "bench press",
    "mist sprayer",
    "seed dryer",
    "glue kettle",
    "loom lamp",
    "bottle washer",
    "potting table",
    "honey warmer",
    "peat mixer",
    "saw guide",
    "frost alarm",
    "wax melter",
    "hose winder",
    "chick brooder",
)
_POLICIES = (
    "travel",
    "returns",
    "overtime",
    "donation",
    "visitor",
    "recycling",
    "tool loan",
    "training",
    "parking",
    "uniform",
    "canteen",
    "archive",
    "holiday",
    "security",
    "repair",
    "sample",
)
_THINGS = (
    "a pallet without papers",
    "the first unit of a series",
    "a tool lent overnight",
    "a delivery on a Friday",
    "the last shelf of a depot",
    "a customer who never calls",
    "a test that was skipped",
    "an empty filter box",
    "a colleague in their first week",
    "the noise of a worn bearing",
    "a drawing without a date",
    "a spare key",
    "the walk around the yard",
    "a meeting without chairs",
    "the bell at closing time",
    "a repair done twice",
    "a part that fits two machines",
    "the oldest machine in the hall",
    "a label that came off",
    "a wet floor",
    "the shelf for lost tools",
    "an order with no sender",
    "a lamp left on",
    "the break before noon",
    "a screw left over",
    "the night before stocktaking",
    "a crate nailed shut",
    "a coat nobody claims",
    "the table by the window",
    "a machine run dry",
    "a form in three copies",
    "the green trolley",
    "a promise made by phone",
    "the second signature",
    "a box of mixed bolts",
    "a day without orders",
)
_FILLERS = {
    "Warranty": ("Keep the delivery note, as it is the only proof of age.", "Opened seals end the cover at once."),
    "Power": ("Let an electrician look at the cable once a year.", "Pull the plug before the cover is lifted."),
    "Care": ("Wipe it dry afterwards and leave the lid open.", "Never use a wire brush on the inside."),
    "Parts": ("Parts of other makers may fit but are not tested.", "Write the serial number on every order."),
    "Origin": ("It replaced a model that was twice as heavy.", "The first series was sold out in one spring."),
    "People": ("Visitors report at the small door first.", "A deputy is named every January."),
    "Layout": ("Drive slowly and keep to the left of the yard.", "The yard is lit until closing time."),
    "Ownership": ("Changes are announced on the board by the canteen.", "Older versions are kept in the archive."),
    "Terms": ("Exceptions need two signatures.", "Questions about it go to the front office."),
}


@dataclass(frozen=True)
class CompanyFiles:
    """Where everything was written."""

    docs: Path
    knowledge_train: Path
    knowledge_heldout: Path
    extraction_train: Path
    extraction_heldout: Path


@dataclass(frozen=True)
class Page:
    """One document: what it states, and which kinds of facts it could have stated but does not."""

    path: str
    title: str
    facts: tuple[Fact, ...]
    unstated: tuple[Kind, ...] = ()


def write_company(folder: Path, seed: int = SEED) -> CompanyFiles:
    """Write documents and examples below `folder`; the same seed writes the same bytes."""
    chance = random.Random(seed)
    names = Names(chance)
    pages = list(_pages(chance, names))
    chance.shuffle(pages)
    files = _files(folder)
    for page in sorted(pages, key=lambda page: page.path):
        path = files.docs / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_markdown(page, chance), encoding="utf-8")
    cut = round(len(pages) * TRAIN_SHARE)
    for heldout, own in ((False, pages[:cut]), (True, pages[cut:])):
        _write(files.knowledge_heldout if heldout else files.knowledge_train, _knowledge(chance, own, heldout=heldout))
        examples = _extraction(chance, names, heldout=heldout)
        _write(files.extraction_heldout if heldout else files.extraction_train, examples)
    return files


def _files(folder: Path) -> CompanyFiles:
    return CompanyFiles(
        docs=folder / "docs",
        knowledge_train=folder / "knowledge-train.jsonl",
        knowledge_heldout=folder / "knowledge-heldout.jsonl",
        extraction_train=folder / "extraction-train.jsonl",
        extraction_heldout=folder / "extraction-heldout.jsonl",
    )


def _pages(chance: random.Random, names: Names) -> Iterator[Page]:
    for _ in range(PRODUCTS):
        name = f"{names.title()} {chance.randrange(2, 90)}"
        stated = chance.sample(PRODUCT, STATED)
        kinds = [kind for kind in PRODUCT if kind in stated]
        unstated = tuple(kind for kind in PRODUCT if kind not in stated)
        title = f"{name} {chance.choice(_DEVICES)}"
        yield Page(f"products/{_slug(name)}.md", title, _facts(kinds, name, chance, names), unstated)
    for _ in range(SITES):
        name = f"{names.title()} depot"
        yield Page(f"sites/{_slug(name)}.md", name, _facts(SITE, name, chance, names))
    for policy in _POLICIES[:POLICIES]:
        name = f"{policy} policy"
        yield Page(f"policies/{_slug(name)}.md", name.capitalize(), _facts(POLICY, name, chance, names))
    for number in range(TERM_FILES):
        things = _THINGS[number * TERMS_A_FILE : (number + 1) * TERMS_A_FILE]
        facts = tuple(Fact(TERM, thing, TERM.value(chance, names)) for thing in things)
        yield Page(f"glossary/terms-{number + 1}.md", f"House terms, part {number + 1}", facts)


def _facts(kinds: Sequence[Kind], subject: str, chance: random.Random, names: Names) -> tuple[Fact, ...]:
    return tuple(Fact(kind, subject, kind.value(chance, names)) for kind in kinds)


def _markdown(page: Page, chance: random.Random) -> str:
    parts = [f"# {page.title}"]
    for fact in page.facts if page.facts[0].kind is TERM else ():
        parts.append(f"## {fact.value}\n\n{fact.sentence(chance)}")
    for section in dict.fromkeys(fact.kind.section for fact in page.facts if fact.kind is not TERM):
        sentences = [fact.sentence(chance) for fact in page.facts if fact.kind.section == section]
        sentences.insert(chance.randrange(len(sentences) + 1), chance.choice(_FILLERS[section]))
        parts.append(f"## {section}\n\n{' '.join(sentences)}")
    return "\n\n".join(parts) + "\n"


def _knowledge(chance: random.Random, pages: Sequence[Page], *, heldout: bool) -> list[Example]:
    part = "heldout" if heldout else "train"
    answerable, unanswerable = KNOWLEDGE[heldout]
    asked = [(page, fact) for page in pages for fact in page.facts]
    examples = [
        Example(
            id=f"knowledge-{part}-{number}",
            task="knowledge",
            query=fact.question(chance, heldout=heldout),
            answers=(fact.value,),
            gold_documents=(page.path,),
        )
        for number, (page, fact) in enumerate(chance.sample(asked, answerable), start=1)
    ]
    missing = [Fact(kind, page.facts[0].subject, "") for page in pages for kind in page.unstated]
    examples += [
        Example(
            id=f"unanswerable-{part}-{number}",
            task="knowledge",
            query=fact.question(chance, heldout=heldout),
            answers=(UNANSWERABLE,),
            slice="unanswerable",
        )
        for number, fact in enumerate(chance.sample(missing, unanswerable), start=1)
    ]
    return examples


def _extraction(chance: random.Random, names: Names, *, heldout: bool) -> list[Example]:
    part = "heldout" if heldout else "train"
    made = listings(chance, names, EXTRACTION[heldout], heldout=heldout)
    return [
        Example(id=f"extraction-{part}-{number}", task="extraction", query=listing.query, answers=(listing.answer,))
        for number, listing in enumerate(made, start=1)
    ]


def _write(path: Path, examples: Sequence[Example]) -> None:
    dumped = (example.model_dump(mode="json") for example in examples)
    records = ({name: record[name] for name in _WRITTEN} for record in dumped)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


if __name__ == "__main__":
    written = write_company(Path(sys.argv[1]))
    print(f"{sum(1 for _ in written.docs.rglob('*.md'))} documents in {written.docs}")
