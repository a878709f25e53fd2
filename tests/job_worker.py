"""A worker as the service starts them: `python -m tests.job_worker --job ID`. What it does stands in the job's spec.

{"steps": 3}            three steps of 50 ms each; the result is their number
{"stubborn": true}      does not hear that it is to stop
{"dies": 9}             by this signal, after the first step
{"raises": "refused"}   RefusedArtifact, or with any other word a ValueError
{"leaves": 3}           ends with this exit code before it has begun
"""

import argparse
import os
import signal
import sys
import time

from ragtune.errors import Cancelled, RagtuneError, RefusedArtifact
from ragtune.jobs import Jobs
from ragtune.running_job import RunningJob
from ragtune.settings import Settings
from ragtune.store import Database


def work(running: RunningJob) -> None:
    """As the spec says."""
    spec, steps = running.job.spec, int(str(running.job.spec.get("steps", 3)))
    if spec.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for step in range(steps):
        if not spec.get("stubborn"):
            running.progress(step, steps, unit="steps", stage="walking")
        print(f"step {step}, nice {os.nice(0)}, threads {os.environ['OMP_NUM_THREADS']}", file=sys.stderr, flush=True)
        time.sleep(0.05)
        if "dies" in spec:
            os.kill(os.getpid(), int(str(spec["dies"])))
        if "raises" in spec:
            raise RefusedArtifact("broken.pdf is broken") if spec["raises"] == "refused" else ValueError("a surprise")
    running.progress(steps, steps, unit="steps", stage="walking")
    running.result = {"steps": steps, "reads": sys.stdin.read()}


def main() -> None:
    """Take the job; exit code 1 if it was not done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True)
    job_id = parser.parse_args().job
    settings = Settings.load()
    jobs = Jobs(Database(settings.database), settings.home)
    if code := jobs.get(job_id).spec.get("leaves"):
        sys.exit(int(str(code)))
    try:
        with jobs.take(job_id) as running:
            work(running)
    except (RagtuneError, Cancelled) as error:
        print(error.message, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
