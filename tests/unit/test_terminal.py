"""What people and scripts see: results on stdout, words on stderr, and nothing swallowed as markup."""

import json

import pytest

from ragtune.terminal import print_json, print_table, progress, say
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


def test_progress_that_is_broken_off_claims_no_end(capsys: Captured) -> None:
    with pytest.raises(ZeroDivisionError), progress("embedding", total=3):
        _ = 1 / 0
    assert capsys.readouterr().err == "embedding ...\n"
