"""Long work beside the event loop, in threads that nobody waits for when the process ends.

The threads of Python's own pool are waited for at exit, whatever they are at: a download that hangs would keep a
server that has drained. What these are at is given up with the process, so nothing may depend on its end: they fill
staging folders, which are removed, or read.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_at_work: set[Future[Any]] = set()


class Aside(Executor):
    """`most` jobs at once, the others in the order they came."""

    def __init__(self, most: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._most = most
        self._name = name
        self._started = 0
        self._starting = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it as soon as there is a thread."""
        future: Future[T] = Future()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        with self._starting:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, job = self._jobs.get()
            if future.set_running_or_notify_cancel():
                _at_work.add(future)
                _do(job, future)
                _at_work.discard(future)
            del future, job  # or they would live until the next one comes


def leave() -> None:
    """End the process now if threads are still at something: to take the interpreter down around them may crash those
    that come back from native code. Does nothing otherwise."""
    if _at_work:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _do(job: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the result
        future.set_exception(error)
