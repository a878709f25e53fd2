"""The demo's company: frozen, self-consistent, and with nothing shared between train and held-out parts."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ragtune.demo.company import UNANSWERABLE, CompanyFiles, write_company
from ragtune.demo.extraction import KEYS
from ragtune.examples import Example, read_examples

FROZEN = "da09a250d0aa42e25d54921e7f4a37cd5ccf7348d6c5e2dba7fdf50eff69d7c9"


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> CompanyFiles:
    return write_company(tmp_path_factory.mktemp("company"))


def knowledge(company: CompanyFiles) -> tuple[list[Example], list[Example]]:
    return read_examples(company.knowledge_train), read_examples(company.knowledge_heldout)


def pattern(question: str) -> str:
    """The question without its names and numbers: what is left is the wording."""
    return re.sub(r"\b[A-Z]\w+ \d+\b|\b[A-Z]\w+ depot\b|\b[\w ]+ policy\b|\d+", "_", question)


def test_it_is_frozen(company: CompanyFiles) -> None:
    assert digest(company.docs.parent) == FROZEN, "the data changed: every figure in the docs would be about other data"


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_it_does_not_depend_on_the_hash_seed(hash_seed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "ragtune.demo.company", str(tmp_path)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert digest(tmp_path) == FROZEN


def test_there_is_enough_of_everything(company: CompanyFiles) -> None:
    train, heldout = knowledge(company)
    assert len(list(company.docs.rglob("*.md"))) >= 80
    assert sum(not example.slice for example in heldout) >= 100
    assert sum(example.slice == "unanswerable" for example in heldout) == 30
    assert len(read_examples(company.extraction_heldout)) >= 100
    assert len(train) >= 300


def test_every_answer_stands_word_for_word_in_exactly_its_document(company: CompanyFiles) -> None:
    texts = {p.relative_to(company.docs).as_posix(): p.read_text() for p in company.docs.rglob("*.md")}
    for example in [e for part in knowledge(company) for e in part if not e.slice]:
        (gold,) = example.gold_documents
        assert example.answers[0] in texts[gold]
        assert sum(len(answer.split()) for answer in example.answers) <= 4


def test_no_document_answers_the_unanswerable(company: CompanyFiles) -> None:
    answerable = {e.query for part in knowledge(company) for e in part if not e.slice}
    for example in [e for part in knowledge(company) for e in part if e.slice]:
        assert example.answers == (UNANSWERABLE,) and example.query not in answerable


def test_train_and_heldout_share_no_fact_no_document_and_no_wording(company: CompanyFiles) -> None:
    train, heldout = knowledge(company)
    assert not {e.gold_documents for e in train if e.gold_documents} & {e.gold_documents for e in heldout}
    assert not {pattern(e.query) for e in train} & {pattern(e.query) for e in heldout}
    queries = [e.query for e in (*train, *heldout)]
    assert len(queries) == len(set(queries))


def test_every_listing_holds_the_values_of_its_json(company: CompanyFiles) -> None:
    for example in [*read_examples(company.extraction_train), *read_examples(company.extraction_heldout)]:
        values = json.loads(example.answers[0])
        listing = example.query.partition("Listing: ")[2]
        assert tuple(values) == KEYS
        assert all(value in listing for value in values.values())


def test_listings_share_no_brand_no_model_and_no_instruction(company: CompanyFiles) -> None:
    parts = [read_examples(path) for path in (company.extraction_train, company.extraction_heldout)]
    for key in ("brand", "model"):
        train, heldout = ({json.loads(e.answers[0])[key] for e in part} for part in parts)
        assert not train & heldout
    train, heldout = ({e.query.partition("\n")[0] for e in part} for part in parts)
    assert not train & heldout
