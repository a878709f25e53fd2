"""Torch's threads, each on a processor of its own.

A step has some three hundred barriers. Where another process takes turns on one processor, the kernel sometimes puts
two of the step's threads on the same one, and then every barrier waits for a turn to end (docs/log.md has figures).
Bound, they never meet. `OMP_PROC_BIND` would do the same, but must be set before a process starts, and then every
thread that is started later inherits one processor.
"""

import logging
import os
import sys
from pathlib import Path

import torch

log = logging.getLogger("ragtune.engine")
_TASKS = Path("/proc/self/task")  # a folder for each thread of this process


def processors() -> frozenset[int]:
    """Those the calling thread may use."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except AttributeError:  # only Linux knows
        return frozenset(range(os.cpu_count() or 1))


def choose_threads(threads: int) -> int:
    """Set torch's threads and return the number; 0 means one for each processor this process may use, bound to it.

    A number is taken as it is, and nothing is bound: several engines may share the machine.
    """
    allowed = processors()
    chosen = threads or len(allowed)
    torch.set_num_threads(chosen)
    if not threads and chosen > 1 and sys.platform == "linux":
        before = _threads()
        ones = torch.ones(1 << 20)
        ones.add_(ones)  # large enough for all threads, so that they exist
        workers = sorted(_threads() - before)
        if len(workers) == chosen - 1:
            for thread, processor in zip((0, *workers), sorted(allowed), strict=True):
                os.sched_setaffinity(thread, {processor})
        else:
            log.warning("torch started %d threads, not %d: none is bound to a processor", len(workers), chosen - 1)
    return chosen


def limit(threads: int) -> None:
    """So many for a process that works beside the engine, and one for what runs side by side; before torch computes."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def use(allowed: frozenset[int]) -> None:
    """Let the calling thread run on all of these again: it inherits the one processor of the thread that started it."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, allowed)


def _threads() -> set[int]:
    return {int(folder.name) for folder in _TASKS.iterdir()}
