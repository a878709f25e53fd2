"""What an interrupted bake-off says: that nothing is left running, and how to go on."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ragtune.terminal import say


@contextmanager
def told_how_to_go_on() -> Iterator[None]:
    """From here on SIGTERM ends the process as an exception does, so that whatever was started is ended, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say("ended, and nothing is left running; every finished stage is kept, and the same command goes on from there")
        raise
