"""The documented help pages are the real ones."""

from scripts.write_command_line import FILE, page


def test_the_command_line_reference_is_what_help_prints() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "run: python scripts/write_command_line.py"


def test_every_option_and_command_says_what_it_is() -> None:
    for line in page().splitlines():
        if line.startswith("  --"):
            assert len(line.split("  ")) > 2, f"an option without a word of help: {line}"
