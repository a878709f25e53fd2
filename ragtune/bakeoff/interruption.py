"""What an interrupted bake-off says: that nothing is left running, and how to go on."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ragtune.terminal import say


@contextmanager
def told_how_to_go_on() -> Iterator[None]:
    """From here on SIGTERM, and SIGHUP of a terminal that is closed, end the process as an exception does, so that
    whatever was started is ended, too. Whoever had SIGHUP ignored, as nohup does, is left alone."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        with suppress(OSError):  # the terminal may be gone
            say(
                "ended, and nothing is left running; every finished stage is kept, and the same command goes on from "
                "there"
            )
        raise


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
