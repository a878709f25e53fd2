"""The documented help pages are the real ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.write_command_line import FILE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> str:
    """In an interpreter of its own: click keeps what a command's help looked like when it was first shown."""
    command = [sys.executable, "-c", "from scripts.write_command_line import page; print(page(), end='')"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_command_line_reference_is_what_help_prints(page: str) -> None:
    assert FILE.read_text(encoding="utf-8") == page, "run: python scripts/write_command_line.py"


def test_every_option_and_command_says_what_it_is(page: str) -> None:
    for line in page.splitlines():
        if line.startswith("  --"):
            assert len(line.split("  ")) > 2, f"an option without a word of help: {line}"
