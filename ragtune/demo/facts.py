"""The kinds of facts the company's documents state: how each is written, and how it is asked.

Train and held-out questions use different wordings of every kind, so that a model cannot win by recognising one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from ragtune.demo.names import Names

Value = Callable[[random.Random, Names], str]


@dataclass(frozen=True)
class Kind:
    """One attribute. `{s}` stands for the subject, `{v}` for the value."""

    key: str
    section: str
    value: Value
    stated: tuple[str, ...]
    train: tuple[str, ...]
    heldout: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """One attribute of one subject."""

    kind: Kind
    subject: str
    value: str

    def sentence(self, chance: random.Random) -> str:
        """The fact in words."""
        return _fill(chance.choice(self.kind.stated), self.subject, self.value)

    def question(self, chance: random.Random, *, heldout: bool) -> str:
        """The fact as a question, in a wording of that part only."""
        return _fill(chance.choice(self.kind.heldout if heldout else self.kind.train), self.subject, "")


def _fill(wording: str, subject: str, value: str) -> str:
    return wording.replace("{s}", subject).replace("{v}", value)


def _number(low: int, high: int, unit: str, divide: int = 1) -> Value:
    def value(chance: random.Random, _names: Names) -> str:
        number = chance.randrange(low, high)
        return f"{number / divide:g} {unit}" if divide > 1 else f"{number} {unit}"

    return value


def _material(_chance: random.Random, names: Names) -> str:
    return names.material()


def _person(_chance: random.Random, names: Names) -> str:
    return names.person()


def _place(_chance: random.Random, names: Names) -> str:
    return names.title()


def _code(_chance: random.Random, names: Names) -> str:
    return names.code()


PRODUCT = (
    Kind(
        "warranty",
        "Warranty",
        _number(7, 95, "months"),
        ("The {s} is covered by a warranty of {v}.", "Every {s} carries a warranty of {v} from the day of delivery."),
        ("How long is the warranty of the {s}?", "For how many months is the {s} under warranty?"),
        ("What warranty period does the {s} have?", "Until when after delivery does the warranty cover a {s}?"),
    ),
    Kind(
        "claims",
        "Warranty",
        _person,
        ("Claims for the {s} are decided by {v}.", "{v} decides on every claim for the {s}."),
        ("Who decides claims for the {s}?", "Which person handles a claim for the {s}?"),
        ("A {s} is claimed as faulty: whose decision is it?", "By whom are claims on the {s} decided?"),
    ),
    Kind(
        "fuse",
        "Power",
        _number(11, 160, "ampere", 10),
        ("The {s} is protected by a fuse of {v}.", "A fuse of {v} protects the {s}."),
        ("Which fuse protects the {s}?", "What is the fuse rating of the {s}?"),
        ("How strong a fuse goes into the {s}?", "The {s} needs a new fuse; of what rating?"),
    ),
    Kind(
        "warmup",
        "Power",
        _number(13, 290, "seconds"),
        ("After it is switched on, the {s} is ready in {v}.", "The {s} takes {v} to warm up."),
        ("How long does the {s} take to warm up?", "After how many seconds is the {s} ready?"),
        ("What is the warm-up time of the {s}?", "How long must one wait before a {s} can be used?"),
    ),
    Kind(
        "cleaner",
        "Care",
        _material,
        ("Clean the {s} with {v} only.", "The {s} may be cleaned with nothing but {v}."),
        ("What is the {s} cleaned with?", "Which agent cleans the {s}?"),
        ("What should be used to clean a {s}?", "Name the cleaner that is allowed for the {s}."),
    ),
    Kind(
        "service",
        "Care",
        _number(110, 990, "hours"),
        ("The {s} wants a service every {v} of use.", "After each {v} of use the {s} goes to service."),
        ("How often does the {s} need a service?", "After how many hours of use is the {s} serviced?"),
        ("What is the service interval of the {s}?", "How many hours may a {s} run between two services?"),
    ),
    Kind(
        "filter",
        "Parts",
        _code,
        ("The {s} takes the filter {v}.", "Order filter {v} for the {s}."),
        ("Which filter does the {s} take?", "What filter is ordered for the {s}?"),
        ("What is the part number of the filter in the {s}?", "A {s} needs a new filter: which one fits?"),
    ),
    Kind(
        "resin",
        "Parts",
        _material,
        ("The housing of the {s} is cast from {v}.", "The resin of the {s} housing is {v}."),
        ("What is the housing of the {s} made of?", "Which resin is the {s} cast from?"),
        ("From what material is a {s} housing cast?", "Name the resin used for the casing of the {s}."),
    ),
    Kind(
        "designer",
        "Origin",
        _person,
        ("The {s} was designed by {v}.", "{v} drew the first plans of the {s}."),
        ("Who designed the {s}?", "By whom was the {s} designed?"),
        ("Whose design is the {s}?", "Name the person who drew the plans of the {s}."),
    ),
    Kind(
        "depot",
        "Origin",
        _place,
        ("Spare {s} units are kept in the {v} depot.", "The {v} depot holds the stock of the {s}."),
        ("In which depot are spare {s} units kept?", "Where is the stock of the {s} held?"),
        ("Which depot stores the {s}?", "From what depot would a spare {s} be sent?"),
    ),
)

SITE = (
    Kind(
        "keeper",
        "People",
        _person,
        ("The keeper of the {s} is {v}.", "{v} keeps the {s}."),
        ("Who is the keeper of the {s}?",),
        ("Name the person who keeps the {s}.",),
    ),
    Kind(
        "bays",
        "Layout",
        _number(12, 88, "bays"),
        ("The {s} has {v} for loading.", "Lorries load at the {v} of the {s}."),
        ("How many loading bays does the {s} have?",),
        ("What is the number of bays at the {s}?",),
    ),
    Kind(
        "gate",
        "Layout",
        _code,
        ("The gate of the {s} opens with pass {v}.", "Pass {v} opens the gate of the {s}."),
        ("Which pass opens the gate of the {s}?",),
        ("With what pass does one enter the {s}?",),
    ),
)

POLICY = (
    Kind(
        "owner",
        "Ownership",
        _person,
        ("{v} owns the {s}.", "The {s} is owned by {v}."),
        ("Who owns the {s}?",),
        ("Name the owner of the {s}.",),
    ),
    Kind(
        "deadline",
        "Terms",
        _number(3, 58, "working days"),
        ("Under the {s} a request is answered within {v}.", "The {s} grants an answer within {v}."),
        ("Within what time is a request answered under the {s}?",),
        ("How many working days does the {s} allow for an answer?",),
    ),
    Kind(
        "limit",
        "Terms",
        _number(21, 940, "crowns"),
        ("The {s} sets a limit of {v}.", "Anything above {v} falls outside the {s}."),
        ("What limit does the {s} set?",),
        ("Up to what amount does the {s} apply?",),
    ),
)

TERM = Kind(
    "term",
    "Term",
    _place,
    ("At the company, {s} is called a {v}.", "The house word for {s} is {v}."),
    ("What is the house word for {s}?",),
    ("Which term do colleagues use for {s}?",),
)
