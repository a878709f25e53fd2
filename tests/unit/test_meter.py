"""The meter: what a run used, and what it used before it was interrupted."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adapters.meter import Meter, Spent, machine

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_wall_and_processor_time_of_the_run_are_measured() -> None:
    with Meter() as meter:
        time.sleep(0.2)
    resting = meter.spent()
    assert 0.2 <= resting.wall_seconds < 2
    assert resting.cpu_seconds < resting.wall_seconds
    assert meter.spent() == resting  # it has ended
    assert (resting.gpu_seconds, resting.gpu_peak_memory) == (None, None)


def test_threads_and_processes_that_the_run_started_count_while_they_run_and_after() -> None:
    with Meter() as meter, ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: subprocess.run([sys.executable, "-c", BUSY], check=True), range(2)))
        assert meter.spent().cpu_seconds > 0.5
        with subprocess.Popen([sys.executable, "-c", BUSY + "\ninput()"], stdin=subprocess.PIPE) as child:
            deadline = time.monotonic() + 20
            while meter.spent().cpu_seconds < 0.8 and time.monotonic() < deadline:
                time.sleep(0.05)
            running = meter.spent().cpu_seconds
            child.communicate(b"\n")
    assert running > 0.8
    assert meter.spent().cpu_seconds >= running


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the peak of the whole process is known")
def test_the_peak_of_memory_is_that_of_the_run_and_not_of_what_was_before() -> None:
    before = np.ones(32 << 20)  # a quarter of a gigabyte, all of it touched
    del before
    with Meter() as small:
        pass
    with Meter() as large:
        during = np.ones(16 << 20)
        del during
    grown = large.spent().peak_memory - small.spent().peak_memory
    assert (128 << 20) * 0.9 < grown < (128 << 20) * 1.5
    assert not large.spent().peak_of_process


def test_a_run_that_goes_on_adds_to_what_was_used_before() -> None:
    already = Spent(
        wall_seconds=100, cpu_seconds=150, peak_memory=1 << 40, gpu_seconds=90, gpu_peak_memory=7, peak_of_process=True
    )
    with Meter(already) as meter:
        time.sleep(0.01)
    spent = meter.spent()
    assert 100 < spent.wall_seconds < 101 and 150 <= spent.cpu_seconds < 151
    assert spent == already.model_copy(
        update={"wall_seconds": spent.wall_seconds, "cpu_seconds": spent.cpu_seconds}
    )  # peaks are the larger ones, and what was not known to be of the run alone still is not
    assert Spent.model_validate_json(spent.model_dump_json()) == spent


def test_the_price_is_wall_time_at_the_hourly_rate() -> None:
    assert Spent(wall_seconds=1800).price(3.0) == 1.5
    assert Spent(wall_seconds=1800).price(None) is None


def test_the_machine_is_named_and_that_only_the_peak_of_the_process_is_known() -> None:
    assert machine(Spent(), 2).endswith("processors, 2 threads, no GPU")
    assert machine(Spent(peak_of_process=True), 2).endswith("no GPU; peak memory since the process began")
