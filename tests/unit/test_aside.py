"""Threads for long work: in order, with their errors, and nobody waits for them when the process ends."""

import asyncio
import subprocess
import sys
import threading

import pytest

from service.aside import Aside

BUSY = """
import threading, time
from service.aside import Aside, leave
started = threading.Event()
Aside(1, "busy").submit(lambda: (started.set(), time.sleep(60)))
started.wait()
print("ended", flush=True)
{end}
"""


async def test_a_job_gives_its_result_or_its_error_to_whoever_waits() -> None:
    loop, aside = asyncio.get_running_loop(), Aside(2, "test")
    assert await loop.run_in_executor(aside, max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(aside, lambda: 1 // 0)
    assert await loop.run_in_executor(aside, threading.current_thread) is not threading.main_thread()


async def test_no_more_jobs_than_told_run_at_once_and_one_that_is_cancelled_before_it_began_never_does() -> None:
    aside, go, ran = Aside(2, "test"), threading.Event(), list[int]()
    both = [aside.submit(go.wait) for _ in range(2)]
    waiting = [aside.submit(ran.append, number) for number in range(3)]
    assert waiting[1].cancel()
    go.set()
    assert [each.result(5) for each in both] == [True, True]
    assert (waiting[0].result(5), waiting[2].result(5)) == (None, None)
    assert sorted(ran) == [0, 2]


@pytest.mark.parametrize("end", ["", "leave()"])
def test_a_process_ends_whatever_its_threads_are_at(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY.format(end=end)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
