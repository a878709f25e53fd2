"""A made-up evaluation of twelve arms on two tasks, with a ladder, an outside endpoint and failures; by a fixed seed.

What the arms can do is set by SKILL; documents and questions differ in difficulty, so that items of a document are
alike, as they are in real ones.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eval.runfile import Alone, Header, Indexed, Item, Model, Reply, Run, Server, Shown, Trained, Used
from eval.suite import Suite
from ragtune.wire import Timings

HOSTILE = "</script><script>alert(1)</script> & <b>not bold</b> \u202e"
SKILL = {  # knowledge, intent: log odds of being right
    "base": (-2.2, -0.8),
    "base, told the format": (-2.0, 0.2),
    "prompt:few-shot": (-1.9, 0.6),
    "rag": (0.7, -0.8),
    "rag without passages": (-2.3, None),
    "rag, gold": (1.4, None),
    "rag, gold among others": (1.0, None),
    "rag, wrong": (-3.2, None),
    "support-lora": (-1.2, 2.2),
    "support-lora+rag:handbook": (1.6, 2.1),
    "polite-soft+rag:handbook": (1.3, 1.2),
    "hosted-large": (1.2, 1.7),
}
CONTEXTS = {
    "rag without passages": "none",
    "rag, gold": "gold",
    "rag, gold among others": "gold+distractors",
    "rag, wrong": "wrong",
}
LABELS = ("billing", "delivery", "returns", "warranty", "other")
PRODUCTS = ("Brevik 2", "Solund", "Varde Mini", "Hitra", "Frøya Pro", "Lista", "Utsira", "Senja")
FACTS = ("warranty", "battery", "weight", "charger", "price")
SUITE: dict[str, Any] = {
    "name": "Brevik handbook",
    "tasks": [
        {
            "name": "knowledge",
            "examples": "knowledge.jsonl",
            "metrics": ["containment", "token_f1", "exact_match"],
            "max_tokens": 32,
        },
        {"name": "intent", "examples": "intent.jsonl", "metrics": ["label_accuracy", "macro_f1"], "max_tokens": 8},
    ],
    "arms": [
        {"mode": "base"},
        {"mode": "base", "label": "base, told the format", "instruction": "Answer in as few words as possible."},
        {"mode": "prompt:few-shot"},
        {"mode": "rag"},
        *(
            {"mode": "rag", "label": label, "context": context, "tasks": ["knowledge"], "limits": {"knowledge": 80}}
            for label, context in CONTEXTS.items()
        ),
        {"mode": "support-lora"},
        {"mode": "support-lora+rag:handbook"},
        {"mode": "polite-soft+rag:handbook"},
        {
            "endpoint": "https://api.example.com/v1",
            "model": "hosted-large",
            "price_in": 0.5,
            "price_out": 1.5,
        },
    ],
    "comparisons": [
        {"task": "knowledge", "metric": "containment", "arm": "rag", "over": "base", "margin": 20},
        {"task": "knowledge", "metric": "containment", "arm": "support-lora+rag:handbook", "over": "rag", "margin": 0},
        {"task": "intent", "metric": "label_accuracy", "arm": "support-lora", "over": "base", "margin": 20},
    ],
    "gates": [
        {"arm": "rag", "task": "knowledge", "least": 45},
        {"arm": "support-lora", "task": "intent", "least": 95},
        {"arm": "rag", "task": "knowledge", "slice": "unanswerable", "least": 50},
    ],
    "budget": {"p95_ms": 2500, "training_seconds": 3600, "queries": 100_000, "updates": 4},
    "hourly_rate": 0.4,
}


@dataclass
class Maker:
    """Makes the items, everything by chance from one seed."""

    seed: int = 7
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def items(self) -> Iterator[Item]:
        """Every arm's, task by task."""
        documents = {(product, fact): self.chance.gauss(0, 0.6) for product in PRODUCTS for fact in FACTS}
        knowledge = [
            (product, fact, variant, documents[product, fact] + self.chance.gauss(0, 1.2))
            for product in PRODUCTS
            for fact in FACTS
            for variant in range(3)
        ]
        for arm, (skill, _) in SKILL.items():
            for number, (product, fact, variant, ease) in enumerate(knowledge[: 80 if arm in CONTEXTS else None]):
                yield self.knowledge(arm, number, product, f"{fact} {variant}", skill + ease)
        for arm in ("rag", "base", "support-lora+rag:handbook", "polite-soft+rag:handbook", "hosted-large"):
            for number in range(16):
                yield self.unanswerable(arm, number)
        for arm, (_, skill) in SKILL.items():
            for number in range(90 if skill is not None else 0):
                assert skill is not None
                yield self.intent(arm, number, skill)

    def knowledge(self, arm: str, number: int, product: str, fact: str, odds: float) -> Item:
        answer = f"{7 + 3 * number % 41} months"
        item = self.item(arm, "knowledge", f"k-{number:03}", f"What about the {fact} of the {product}?", (answer,))
        item["cluster"] = f"products/{product}/{fact.split()[0]}.md"
        if self.chance.random() < (0.04 if arm == "hosted-large" else 0.004):
            return Item(**item, error="HTTP 504: the endpoint did not answer within 120 s")
        right = self.chance.random() < 1 / (1 + math.exp(-odds))
        reads = "rag" in arm and arm != "rag without passages"
        found = reads and arm != "rag, wrong" and (right or arm.startswith("rag, gold") or self.chance.random() < 0.4)
        text = f"The {fact.split()[0]} lasts {answer}." if right else self.chance.choice(WRONG)
        if number == 3 and not right:
            text = HOSTILE
        scores = {
            "containment": float(right),
            "token_f1": round(0.5 + self.chance.random() / 2, 3) if right else round(self.chance.random() * 0.2, 3),
            "exact_match": float(right and "+" in arm),
            "abstention": 0.0,
        }
        passages = self.passages(product, fact, answer, found) if reads else ()
        reply = self.reply(arm, text, passages, cut=number % 31 == 0)
        return Item(**item, reply=reply, scores=scores, gold_retrieved=found if reads else None)

    def unanswerable(self, arm: str, number: int) -> Item:
        item = self.item(
            arm, "knowledge", f"u-{number:03}", f"Who designed article {number}?", ("Not in the documents.",)
        )
        abstains = self.chance.random() < (0.7 if "rag" in arm else 0.1)
        text = "That is not in the documents." if abstains else "Ingrid Solberg did."
        reply = self.reply(arm, text, ())
        return Item(**item, slice="unanswerable", reply=reply, scores={"abstention": float(abstains)})

    def intent(self, arm: str, number: int, skill: float) -> Item:
        wanted = LABELS[number % len(LABELS)]
        item = self.item(arm, "intent", f"i-{number:03}", f"Customer {number} writes about {wanted}.", (wanted,))
        right = self.chance.random() < 1 / (1 + math.exp(-skill - self.chance.gauss(0, 0.5)))
        said = wanted if right else self.chance.choice([label for label in (*LABELS, "") if label != wanted])
        reply = self.reply(arm, said or "I would be glad to assist you with that.", ())
        scores = {"label_accuracy": float(right), "macro_f1": float(right)}
        return Item(**item, reply=reply, scores=scores, predicted=said, unparsable=not said)

    def item(self, arm: str, task: str, example: str, query: str, answers: tuple[str, ...]) -> dict[str, Any]:
        found = {"arm": arm, "task": task, "example": example, "query": query, "answers": answers, "cluster": example}
        timed = example in {f"{kind}-{number:03}" for kind in "ki" for number in range(8)}
        return found | {"retries": int(self.chance.random() < 0.01), "alone": timed}

    def passages(self, product: str, fact: str, answer: str, found: bool) -> tuple[Shown, ...]:
        gold = f"{product}\nThe {fact} of the {product} is {answer}, from the day of delivery; keep the receipt."
        other = f"{product}\nThe {product} comes in three colours & with <two> cables. Clean it with a dry cloth only."
        texts = [other, gold] if found else [other, other.replace("three", "four")]
        document = f"products/{product.lower().replace(' ', '-')}.md"
        return tuple(
            Shown(id=f"{document}#{place}{found}", document=document, text=text, number=place + 1)
            for place, text in enumerate(texts)
        )

    def reply(self, arm: str, text: str, passages: tuple[Shown, ...], cut: bool = False) -> Reply:
        reading, hosted = bool(passages), arm == "hosted-large"
        first = self.chance.gauss(700 if reading else 260, 40) * (1.6 if hosted else 1)
        prompt = 300 + int(self.chance.gauss(0, 12)) if reading else 42 + int(self.chance.gauss(0, 4))
        versions = {"index": "handbook@3"} if reading else {}
        if "lora" in arm or "soft" in arm:
            versions["weights"] = f"{arm.split('+')[0]}@1"
        return Reply(
            id="gen",
            text=text,
            finish_reason="length" if cut else "stop",
            resolved_mode=arm,
            versions=versions,
            passages=passages,
            usage=Used(prompt_tokens=prompt, completion_tokens=12, cached_tokens=24 if reading else 8),
            timings=Timings(first_token_ms=first, total_ms=first + 600 + self.chance.gauss(0, 60)),
        )


WRONG = ("24 months.", "Two years, as required by law.", "It depends on the model.", "12 months", "I am an assistant.")


def sample_run(seed: int = 7) -> Run:
    """The run; the same seed gives the same one."""
    maker = Maker(seed)
    items = list(maker.items())
    return Run(_header(maker.chance), items)


def _header(chance: random.Random) -> Header:
    lora = Trained(
        seconds=660,
        peak_memory=7_400_000_000,
        artifact_bytes=19_500_000,
        steps=240,
        rates=2,
        examples=480,
        data="ab" * 32,
    )
    soft = lora.model_copy(update={"seconds": 540.0, "artifact_bytes": 40_000, "rates": None})
    index = Indexed(version="handbook@3", seconds=46, update_seconds=46, passages=2067)
    return Header(
        suite=Suite.model_validate(SUITE),
        url="http://127.0.0.1:8000",
        server=Server(
            base="SmolLM2-135M-Instruct",
            note="Q4_1, dequantised to fp32",
            fingerprint="9f" * 32,
            device="cpu",
            max_model_len=8192,
            models=(Model(id="base", kind="base", root="base"),),
        ),
        trained={"support-lora": lora, "support-lora+rag:handbook": lora, "polite-soft+rag:handbook": soft},
        indexed={arm: index for arm in SKILL if "rag" in arm},
        alone={arm: tuple(_alone(arm, chance) for _ in range(8)) for arm in SKILL},
        data={"knowledge": "cd" * 32, "intent": "ef" * 32},
        started="2026-11-24T10:15:00+00:00",
        seconds=412.5,
        ragtune="0.1.0",
    )


def _alone(arm: str, chance: random.Random) -> Alone:
    reading = "rag" in arm and CONTEXTS.get(arm) != "none"
    first = abs(chance.gauss(330 if reading else 45, 12)) * (4 if arm == "hosted-large" else 1)
    return Alone(first_token_ms=first, total_ms=first + abs(chance.gauss(520, 90)) * (1.3 if "lora" in arm else 1))
