"""An interrupt that is held back comes where the work says, once, and at once for whoever insists."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ragtune.stopping import held_back


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal that interrupts as Ctrl-C does."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_an_interrupt_waits_for_the_end_of_a_step(number: int) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as look:
        for step in range(3):
            look()
            os.kill(os.getpid(), number)
            done.append(step)
    assert done == [0]


def test_an_interrupt_nobody_looks_for_any_more_comes_too_late(number: int) -> None:
    done = []
    with held_back():
        os.kill(os.getpid(), number)
        done.append("all of it")
    assert done == ["all of it"]


def test_a_second_interrupt_comes_at_once(number: int) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), number)
        done.append("the first")
        os.kill(os.getpid(), number)
        done.append("the second")
    assert done == ["the first"]


def test_what_is_written_after_an_interrupt_is_not_interrupted_again(number: int) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as look:
        os.kill(os.getpid(), number)
        try:
            look()
        finally:
            os.kill(os.getpid(), number)
            done.append("the state is saved")
    assert done == ["the state is saved"]


def test_an_error_goes_before_an_interrupt_and_handlers_are_what_they_were(number: int) -> None:
    with pytest.raises(ValueError, match="mine"), held_back():
        os.kill(os.getpid(), number)
        raise ValueError("mine")
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_thread_that_gets_no_signals_holds_none_back() -> None:
    def work() -> None:
        with held_back() as look:
            look()
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
