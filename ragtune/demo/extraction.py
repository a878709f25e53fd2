"""The second task: a messy marketplace listing to JSON. Brands, layouts and instructions differ between the parts."""

import json
import random
from dataclasses import dataclass

from ragtune.demo.names import Names

KEYS = ("brand", "model", "material", "capacity", "price")
_THINGS = ("kettle", "watering can", "tool box", "storage tub", "planter", "thermos", "bucket", "lunch box", "cooler")
_MATERIALS = ("steel", "oak", "copper", "ceramic", "aluminium", "bamboo", "enamel", "brass", "zinc", "walnut", "glass")
_NOISE = (
    "pick-up only",
    "no returns!!",
    "ships in 3 days",
    "tiny scratch on the lid",
    "from a smoke-free home",
    "box included",
    "price is firm",
    "message me first",
    "used twice",
    "gift, never used",
    "last one",
)
_INSTRUCTIONS = {
    False: (
        "Extract brand, model, material, capacity and price from this listing as JSON.",
        "Read the listing and return JSON with the keys brand, model, material, capacity, price.",
        "Turn this listing into a JSON object with brand, model, material, capacity and price.",
    ),
    True: (
        "Give me the brand, model, material, capacity and price of the following offer as a JSON object.",
        "Which brand, model, material, capacity and price does this listing state? Answer in JSON.",
    ),
}
_LAYOUTS = {
    False: (
        "{thing} {brand} {model} // {material} // holds {capacity} // {noise} // {price}",
        "*** {brand} *** {model} {thing}, {capacity}, made of {material}; asking {price} ({noise})",
        "FOR SALE: {material} {thing} by {brand}, type {model}. {capacity}. {noise}. {price} o.b.o.",
        "{price} - {brand} {thing} - mod. {model} - {noise} - {material} - vol. {capacity}",
        "selling my {brand} {model} ({capacity}) {noise}, it is {material}, want {price} for the {thing}",
        "{thing}: {capacity} | {material} | {brand} {model} | {noise} | now {price}",
    ),
    True: (
        "{noise}!! {thing} from {brand}, model name {model} ... {price} ... {material} body, {capacity} inside",
        "[{price}] {material} {thing}, {capacity} / {brand} / {model} / {noise}",
        "moving out, {thing} must go: {model} by {brand}; {capacity}; {material}; {noise}; {price} takes it",
        "{brand} {material} {thing} no. {model} ~ {price} ~ {noise} ~ fits {capacity}",
    ),
}
_REMOVABLE = ("material", "capacity", "price")
_SHARE_MISSING = 0.2


@dataclass(frozen=True)
class Listing:
    """A query and the JSON that answers it."""

    query: str
    answer: str


def listings(chance: random.Random, names: Names, count: int, *, heldout: bool) -> list[Listing]:
    """`count` listings of one part; every brand and model is new."""
    brands = [names.title() for _ in range(max(8, count // 6))]
    return [_listing(chance, names, chance.choice(brands), heldout=heldout) for _ in range(count)]


def _listing(chance: random.Random, names: Names, brand: str, *, heldout: bool) -> Listing:
    values = {
        "brand": brand,
        "model": f"{names.title()} {chance.randrange(2, 99)}",
        "material": chance.choice(_MATERIALS),
        "capacity": f"{chance.randrange(3, 400) / 10:g} {chance.choice(('l', 'litres', 'ltr'))}",
        "price": chance.choice(("{} EUR", "EUR {}", "{}.50 EUR", "{} euros")).format(chance.randrange(4, 180)),
    }
    layout = chance.choice(_LAYOUTS[heldout])
    if chance.random() < _SHARE_MISSING:
        missing = chance.choice(_REMOVABLE)
        values[missing] = ""
        layout = _without(layout, missing)
    things = {"thing": chance.choice(_THINGS), "noise": chance.choice(_NOISE)}
    line = layout.format(**values, **things)
    answer = json.dumps({key: values[key] for key in KEYS}, ensure_ascii=False)
    return Listing(f"{chance.choice(_INSTRUCTIONS[heldout])}\n\nListing: {line}", answer)


def _without(layout: str, key: str) -> str:
    """The layout with a word of no value where the attribute stood."""
    return layout.replace(f"{{{key}}}", {"material": "plain", "capacity": "size as shown", "price": "best offer"}[key])
