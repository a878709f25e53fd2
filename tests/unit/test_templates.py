"""Templates as versions in the store, and the ones that ship for the demo."""

from importlib.resources import files
from pathlib import Path

import pytest

from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates

SHIPPED = files("ragtune.demo") / "templates"
NAMES = ("extraction-few-shot", "extraction-plain", "knowledge-few-shot", "knowledge-plain")


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    return Templates(tmp_path, Database(tmp_path / "ragtune.db"))


def test_a_template_comes_back_as_it_was_added(templates: Templates) -> None:
    text = '# brief\nsystem = "Be brief."\n'
    version = templates.add("brief", text)
    assert str(version) == "brief@1"
    assert templates.get(Ref("brief")).manifest.template == Template(system="Be brief.")
    assert templates.source(version) == text


def test_the_same_content_again_is_no_new_version_and_other_content_is(templates: Templates) -> None:
    assert templates.add("brief", 'system = "a"').number == 1
    assert templates.add("brief", "system='a'  # formatted otherwise").number == 1
    assert templates.add("brief", 'system = "b"').number == 2
    assert templates.get(Ref("brief", "1")).manifest.template.system == "a"


def test_going_back_to_earlier_content_is_a_new_version(templates: Templates) -> None:
    for system in ("a", "b", "a"):
        templates.add("brief", f'system = "{system}"')
    assert str(templates.get(Ref("brief"))) == "brief@3"


def test_a_broken_template_is_refused_and_leaves_nothing(templates: Templates) -> None:
    with pytest.raises(RefusedArtifact, match="template 'brief'"):
        templates.add("brief", "sytem = 1")
    with pytest.raises(UnknownName, match="no template is registered yet"):
        templates.get(Ref("brief"))


def test_an_unknown_template_is_told_its_near_matches(templates: Templates) -> None:
    templates.add("few-shot", "")
    with pytest.raises(UnknownName, match="did you mean 'few-shot'"):
        templates.get(Ref("fewshot"))


def test_a_plain_and_a_few_shot_template_ship_for_each_task() -> None:
    assert sorted(file.name for file in SHIPPED.iterdir()) == [f"{name}.toml" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_template_reads_and_has_examples_if_its_name_says_so(name: str) -> None:
    template = Template.parse((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), name)
    assert template.system or template.examples
    assert bool(template.examples) == name.endswith("few-shot")
