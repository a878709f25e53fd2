"""Ctrl-C and SIGTERM, held back until the work at hand has come to where it can stop.

    with held_back() as look:
        for step in steps:
            do(step)
            look()          # the interrupt comes here, and so never in the midst of a step

What is half done in a step (an optimiser that has moved some of the weights) could not be kept and gone on with.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]
_STOPS = (signal.SIGINT, signal.SIGTERM)
_HEARD = b"\nending after this step ...\n"


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Inside, the first Ctrl-C or SIGTERM does what it does at the next call of the function that is given; a second
    one before that does it at once. One that comes when there is no such call any more comes too late: the work is
    done. In any other than the main thread nothing is held back."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals are the main thread's
        return
    handlers: dict[int, Handler] = {
        number: handler for number in _STOPS if callable(handler := signal.getsignal(number))
    }
    waiting: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if waiting:
            handlers[number](number, frame)
        else:
            waiting.append(number)
            os.write(2, _HEARD)  # no print in a signal handler: what it interrupts may hold the lock it needs

    def look() -> None:
        if waiting:
            number = waiting.pop()
            handlers[number](number, None)

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield look
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
