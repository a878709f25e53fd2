"""Invented names: of products, materials, people, places and house terms. Seeded, and never the same one twice."""

import random

_ONSETS = (
    "br",
    "cal",
    "dor",
    "el",
    "fen",
    "gar",
    "hal",
    "is",
    "jor",
    "kel",
    "lum",
    "mar",
    "nor",
    "or",
    "pel",
    "quil",
    "ros",
    "sev",
    "tor",
    "ul",
    "ver",
    "wen",
    "yar",
    "zel",
    "bast",
    "crin",
    "dusk",
    "glim",
    "thren",
)
_MIDDLES = ("a", "e", "i", "o", "u", "ai", "ea", "io", "ou")
_ENDS = (
    "bek",
    "dane",
    "fry",
    "gard",
    "hollow",
    "kin",
    "lund",
    "mere",
    "nex",
    "pral",
    "rin",
    "sted",
    "tov",
    "vik",
    "wick",
)
_MATERIAL_ENDS = ("ane", "ite", "ol", "ene", "yx", "ex", "ium")
_FIRST = (
    "Ada",
    "Bram",
    "Cosima",
    "Dorrit",
    "Edda",
    "Falk",
    "Greta",
    "Hanno",
    "Ilka",
    "Joris",
    "Katinka",
    "Lorenz",
    "Malin",
    "Nils",
    "Ottilie",
    "Pieter",
    "Romy",
    "Sjoerd",
    "Tilda",
    "Ulf",
    "Veerle",
    "Wanda",
    "Yorick",
    "Zita",
)


class Names:
    """A source of names, all different in any capitalisation."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._used: set[str] = set()

    def word(self, ends: tuple[str, ...] = _ENDS) -> str:
        """One invented word, lower case."""
        while True:
            word = self._chance.choice(_ONSETS) + self._chance.choice(_MIDDLES) + self._chance.choice(ends)
            if word not in self._used:
                self._used.add(word)
                return word

    def title(self) -> str:
        """One invented word, capitalised: a product line, a place, a brand."""
        return self.word().capitalize()

    def material(self) -> str:
        """A resin, oil or fluid."""
        return self.word(_MATERIAL_ENDS)

    def person(self) -> str:
        """A first and a last name."""
        return f"{self._chance.choice(_FIRST)} {self.title()}"

    def code(self) -> str:
        """A part number such as QX-417."""
        while True:
            letters = "".join(self._chance.choice("BCDFGHKLMNPQRSTVWXZ") for _ in range(2))
            code = f"{letters}-{self._chance.randrange(100, 1000)}"
            if code not in self._used:
                self._used.add(code)
                return code
