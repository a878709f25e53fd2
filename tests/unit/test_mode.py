"""The mode language: what parses, what it prints, and what each mistake is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.errors import InvalidRequest
from ragtune.mode import NAME_PATTERN, RESERVED, Mode, Ref, check_name

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: name not in RESERVED)
VERSIONS = st.one_of(st.none(), st.integers(0, 999_999_999).map(str), NAMES)
REFS = st.builds(Ref, NAMES, VERSIONS)
ADAPTERS = st.lists(REFS, max_size=3, unique_by=lambda ref: ref.name).map(tuple)
WITHOUT_INDEX = st.builds(Mode, ADAPTERS, st.none() | REFS, st.booleans())
WITH_INDEX = st.builds(Mode, ADAPTERS, st.none() | REFS, st.just(True), REFS)


@given(WITHOUT_INDEX | WITH_INDEX)
def test_every_mode_reads_back_from_what_it_prints(mode: Mode) -> None:
    assert Mode.parse(str(mode)) == mode


@given(st.text(max_size=40) | st.text("ab+:@-.rag", max_size=20))
def test_any_text_is_either_a_mode_or_refused_with_words(text: str) -> None:
    try:
        mode = Mode.parse(text)
    except InvalidRequest as error:
        assert error.message
    else:
        assert Mode.parse(str(mode)) == mode


@pytest.mark.parametrize(
    "text",
    [
        "base",
        "rag",
        "support-lora",
        "polite-soft+rag",
        "support-lora+polite-soft+rag:handbook@3",
        "prompt:few-shot+rag",
        "support-lora@12+prompt:few-shot@best+rag:handbook",
    ],
)
def test_the_modes_of_the_documentation_print_as_they_were_written(text: str) -> None:
    assert str(Mode.parse(text)) == text


def test_the_parts_may_come_in_any_order() -> None:
    mode = Mode.parse("rag:handbook@3+prompt:few-shot+a-lora+b-soft")
    assert mode == Mode((Ref("a-lora"), Ref("b-soft")), Ref("few-shot"), True, Ref("handbook", "3"))
    assert str(mode) == "a-lora+b-soft+prompt:few-shot+rag:handbook@3"


def test_bare_rag_names_no_index() -> None:
    assert Mode.parse("rag") == Mode(rag=True, index=None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty part"),
        ("rag+", "empty part"),
        ("+a", "empty part"),
        ("a++b", "empty part"),
        ("base+rag", "'base' stands alone"),
        ("rag+rag:handbook", "two rag parts"),
        ("prompt:a+prompt:b", "two prompt: parts"),
        ("a-lora+a-lora@2", "names 'a-lora' twice"),
        ("rag@3", "name the index to pin its version"),
        ("rag:", "index '' is not a legal name"),
        ("rag:hand book", "'hand book' is not a legal name"),
        ("prompt", "'prompt' is a reserved word"),
        ("prompt:", "template '' is not a legal name"),
        ("prompt:base", "'base' is a reserved word"),
        ("Support-Lora", "use 1 to 64 of a-z 0-9"),
        ("a@", "after '@' comes a version number or an alias"),
        ("a@B", "after '@' comes a version number or an alias"),
        ("a@1@2", "after '@' comes a version number or an alias"),
        ("../etc/passwd", "begin with a letter or digit"),
        ("x" * 65, "use 1 to 64"),
        ("unknown:thing", "is not a legal name"),
    ],
)
def test_a_wrong_mode_is_told_which_part_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Mode.parse(text)
    assert reason in caught.value.message
    assert caught.value.param


def test_a_resource_may_not_take_a_word_of_the_language() -> None:
    assert check_name("ragtime") == "ragtime"
    for word in RESERVED:
        with pytest.raises(InvalidRequest, match="reserved word"):
            check_name(word, "index")
