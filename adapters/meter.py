"""What a run uses of the machine: wall and processor time, peak memory, and the GPU where it has one.

with Meter(already) as meter:
    ...
    checkpoint(meter.spent())        # so far; a run that goes on from here hands it in as `already`
bill(meter.spent())                  # all of it
"""

import os
import resource
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil
import torch
from pydantic import BaseModel, ConfigDict, Field

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5): writing this to clear_refs sets VmHWM back to what is resident now


class Spent(BaseModel):
    """What a run has used. Seconds are seconds, bytes are bytes.

    `cpu_seconds` are of all threads of the process and of the processes it started. `peak_memory` is the largest
    resident set of the process itself since the meter started; where the system cannot say that, since the process
    began, and then `peak_of_process`. `gpu_seconds` are those in which the run had a GPU, at work or not;
    `gpu_peak_memory` is what its tensors took there at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_seconds: float = Field(default=0.0, ge=0)
    cpu_seconds: float = Field(default=0.0, ge=0)
    peak_memory: int = Field(default=0, ge=0)
    peak_of_process: bool = False
    gpu_seconds: float | None = Field(default=None, ge=0)
    gpu_peak_memory: int | None = Field(default=None, ge=0)

    def price(self, hourly_rate: float | None) -> float | None:
        """Wall time at that rate an hour; None without a rate."""
        return None if hourly_rate is None else self.wall_seconds / 3600 * hourly_rate


class Meter:
    """Measures from `with` to its end. `already` is what an interrupted run had used, which this one goes on from.

    `gpu` says that the run computes on CUDA. One at a time in a process: there is one peak of memory.
    """

    def __init__(self, already: Spent | None = None, *, gpu: bool = False) -> None:
        self._already = already or Spent()
        self._gpu = gpu
        self._peak_of_process = False
        self._started = self._cpu_before = 0.0
        self._ended: Spent | None = None

    def go_on_from(self, already: Spent) -> None:
        """Count what an interrupted run had used, too."""
        self._already = already

    @property
    def peak(self) -> int:
        """The largest resident set of this process since the meter started, in bytes."""
        return _peak_memory(self._peak_of_process)

    def __enter__(self) -> "Meter":
        self._peak_of_process = not _forget_peak()
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()
        self._started, self._cpu_before = time.monotonic(), _cpu_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended = self.spent()

    def spent(self) -> Spent:
        """What was used so far, or, once it has ended, in all; `already` included."""
        return self._ended or self._together(time.monotonic() - self._started, _cpu_seconds() - self._cpu_before)

    def _together(self, wall: float, cpu: float) -> Spent:
        before = self._already
        gpu = torch.cuda.max_memory_allocated() if self._gpu else None
        return Spent(
            wall_seconds=before.wall_seconds + wall,
            cpu_seconds=before.cpu_seconds + max(0.0, cpu),
            peak_memory=max(before.peak_memory, _peak_memory(self._peak_of_process)),
            peak_of_process=before.peak_of_process or self._peak_of_process,
            gpu_seconds=_added(before.gpu_seconds, wall if self._gpu else None),
            gpu_peak_memory=_larger(before.gpu_peak_memory, gpu),
        )


def machine(spent: Spent, threads: int) -> str:
    """What the run ran on, for its bill: processors, threads, GPU, and whether the peak of memory is only known of the
    whole process."""
    gpu = "no GPU" if spent.gpu_seconds is None else torch.cuda.get_device_name()
    peak = "; peak memory since the process began" if spent.peak_of_process else ""
    return f"{os.cpu_count()} processors, {threads} threads, {gpu}{peak}"


def _added(before: float | None, now: float | None) -> float | None:
    return None if before is None and now is None else (before or 0.0) + (now or 0.0)


def _larger(before: int | None, now: int | None) -> int | None:
    return None if before is None and now is None else max(before or 0, now or 0)


def _cpu_seconds() -> float:
    """Of this process, of children that have ended, and of those that run."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system + sum(map(_of_child, _children()))


def _children() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))


def _of_child(child: psutil.Process) -> float:
    """Its own time and that of its ended children; one that has just ended is counted with those that have."""
    try:
        times = child.cpu_times()
    except psutil.Error:
        return 0.0
    return float(sum((times.user, times.system, times.children_user, times.children_system)))


def _forget_peak() -> bool:
    """Let the peak of memory begin anew, and say whether that was possible: on Linux, where /proc may be written."""
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_memory(of_process: bool) -> int:
    if not of_process:
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    unit = 1 if sys.platform == "darwin" else 1 << 10  # getrusage(2) counts in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
