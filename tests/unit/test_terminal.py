"""What people and scripts see: results on stdout, words on stderr, and nothing swallowed as markup."""

import json
import time

import pytest

from ragtune.terminal import print_json, print_table, printable, progress, say, say_table, show
from ragtune.wire import Usage

Captured = pytest.CaptureFixture[str]


def test_words_for_people_go_to_stderr_as_they_are(capsys: Captured) -> None:
    say("index handbook@1: [bold]12[/bold] passages")
    assert capsys.readouterr() == ("", "index handbook@1: [bold]12[/bold] passages\n")


def test_json_is_one_document_on_stdout_with_models_inside(capsys: Captured) -> None:
    print_json({"usage": [Usage(prompt_tokens=1, completion_tokens=2)], "name": "Brevik – é"})
    out, err = capsys.readouterr()
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "cached_tokens": 0, "virtual_tokens": 0}
    assert json.loads(out) == {"usage": [usage], "name": "Brevik – é"}
    assert "Brevik – é" in out
    assert err == ""


def test_a_table_shows_square_brackets_as_they_are(capsys: Captured) -> None:
    print_table(("mode [x]", "n"), [("[red]a[/red]", 1), ("see [1]", 2)], title="[2]")
    out = capsys.readouterr().out
    for text in ("[2]", "mode [x]", "[red]a[/red]", "see [1]"):
        assert text in out


def test_text_that_others_wrote_cannot_move_the_cursor_or_hide_anything(capsys: Captured) -> None:
    hostile = "a\x1b[2J\x9b1A\x07\r\u202eb\u2028"
    say(hostile)
    show(hostile)
    print_table(("path",), [(hostile,)])
    out, err = capsys.readouterr()
    for sign in "\x1b\x9b\x07\r\u202e\u2028":
        assert sign not in out + err
    assert err == "a\\x1b[2J\\x9b1A\\x07\\r\\u202eb\\u2028\n"
    assert out.count("a\\x1b[2J\\x9b1A") == 2


def test_what_people_write_is_shown_as_it_is() -> None:
    for text in (
        "two\nlines\tand a tab",
        "Überreichweite, 26\u00a0Monate",
        "保証\u3000期間",
        "👩\u200d💻",
        "می\u200cخواهم",
    ):
        assert printable(text) == text


def test_a_table_for_the_person_watching_goes_to_stderr(capsys: Captured) -> None:
    say_table(("task", "n"), [("a" * 300, 7)])
    out, err = capsys.readouterr()
    assert out == "" and "a" * 300 in err


def test_numbers_are_aligned_right(capsys: Captured) -> None:
    print_table(("name", "tokens"), [("a", 7), ("b", 1234)])
    assert "│      7 │" in capsys.readouterr().out


def test_a_table_in_a_file_is_not_cut_to_the_width_of_a_terminal(capsys: Captured) -> None:
    print_table(("mode", "answer"), [("m" * 90, "a" * 200)])
    rows = [line for line in capsys.readouterr().out.splitlines() if "m" * 90 in line and "a" * 200 in line]
    assert len(rows) == 1


def test_progress_outside_a_terminal_is_a_line_before_and_a_line_after(capsys: Captured) -> None:
    with progress("embedding", total=3) as bar:
        assert capsys.readouterr().err == "embedding ...\n"
        for _ in range(3):
            bar.advance()
        bar.describe("ignored here")
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err.startswith("embedding: 3 done in 0.")


def test_progress_outside_a_terminal_tells_now_and_then_how_far_it_is(capsys: Captured) -> None:
    with progress("asking", total=9, every=0) as bar:
        bar.describe("rag")
        bar.advance()
        bar.advance(3)
    told = capsys.readouterr().err.splitlines()[1:-1]
    assert told == ["asking: 1 of 9 after 0 s (rag)", "asking: 4 of 9 after 0 s (rag)"]


def test_progress_without_steps_counts_none(capsys: Captured) -> None:
    with progress("building", None) as bar:
        bar.stage("loading the embedding model", 0, 0)
    assert capsys.readouterr().err.splitlines()[1].startswith("building: done in 0.")


def test_the_time_is_that_of_all_stages(capsys: Captured) -> None:
    with progress("building", None) as bar:
        bar.stage("reading", 2, 2)
        time.sleep(0.1)
        bar.stage("writing", 5, 5)
    assert capsys.readouterr().err.splitlines()[1].startswith("building: 5 done in 0.1")


def test_progress_that_is_broken_off_claims_no_end(capsys: Captured) -> None:
    with pytest.raises(ZeroDivisionError), progress("embedding", total=3):
        _ = 1 / 0
    assert capsys.readouterr().err == "embedding ...\n"
