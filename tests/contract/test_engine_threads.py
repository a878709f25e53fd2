"""Torch's threads and the processors they run on, each case in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, threading
from service.engine.threads import choose_threads, processors, use
allowed = processors()
chosen = choose_threads({threads})
bound = [sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")]
seen = []
thread = threading.Thread(target=lambda: (use(allowed), seen.append(sorted(processors()))))
thread.start(); thread.join()
print(json.dumps([chosen, sorted(one[0] for one in bound if len(one) == 1), sorted(allowed), seen[0]]))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds single threads")


def threads(wanted: int) -> tuple[int, list[int], list[int], list[int]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", SCRIPT.format(threads=wanted)]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    chosen, bound, allowed, later = json.loads(out)
    return chosen, bound, allowed, later


def test_each_thread_has_a_processor_and_a_later_one_has_all() -> None:
    chosen, bound, allowed, later = threads(0)
    assert chosen == len(allowed)
    assert bound == (allowed if chosen > 1 else [])
    assert later == allowed


def test_a_given_number_of_threads_is_bound_to_nothing() -> None:
    chosen, bound, allowed, later = threads(2)
    assert (chosen, bound) == (2, [] if len(allowed) > 1 else allowed * len(bound))
    assert later == allowed
