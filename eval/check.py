"""What is wrong with a suite, told before anything is asked: by `ragtune eval run --check`, and before there is a job
by `python -m eval.check`, ToCheck in, Checked out, as JSON. The service runs it so, as it knows nothing of suites.
"""

import sys
from pathlib import Path

from eval.confined import check_confined
from eval.leaks import find_leaks, read_trained, refuse
from eval.run import Plan, plan
from eval.suite import Suite, parse_suite
from ragtune.errors import InvalidRequest, RagtuneError, RefusedArtifact
from ragtune.evaluation import Checked, Refusal, ToCheck


def check(asked: ToCheck) -> Checked:
    """The suite read as its evaluation will read it, files included. Never raises an error of the tree."""
    try:
        suite = _parsed(asked)
        check_confined(suite, map(Path, asked.roots))
        return Checked(modes=_modes(suite), questions=len(plan(suite).all))
    except RagtuneError as error:
        return Checked(refusal=Refusal(code=error.code, message=error.message, param=error.param))


def checked(planned: Plan, *, allow_leaks: bool) -> str:
    """What would be asked, in words. Raises RefusedArtifact if held-out examples stand in the files that the suite says
    were trained on; what its adapters themselves were trained on is known only to a service."""
    suite = planned.suite
    leaks = find_leaks(planned.examples, read_trained(suite.trained_on))
    if not allow_leaks:
        refuse(leaks)
    told = f"{len(planned.all)} questions to {len(suite.arms)} arms could be asked"
    return f"{told}, {len(leaks)} of the examples trained on" if leaks else f"{told}; none was trained on"


def _parsed(asked: ToCheck) -> Suite:
    try:
        return parse_suite(asked.suite)
    except RefusedArtifact as error:  # here it is no file, but the request
        raise InvalidRequest(error.message, param=error.param) from error


def _modes(suite: Suite) -> dict[str, str]:
    """Those of this service, which a judge may be, too. Raises InvalidRequest for an arm without one."""
    modes = {"judge.model": suite.judge.model} if suite.judge else {}
    for place, arm in enumerate(suite.arms):
        field = f"arms.{place}.mode"
        if arm.mode is None:
            raise InvalidRequest(f"{field}: name a mode, as in {{'mode': 'rag'}}", param=field)
        modes[field] = arm.mode
    return modes


if __name__ == "__main__":
    sys.stdout.write(check(ToCheck.model_validate_json(sys.stdin.buffer.read())).model_dump_json())
