"""Who is asked: the service under evaluation, each of its modes with its versions pinned, and outside endpoints."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from eval.asking import Asker
from eval.client import Service, connect
from eval.endpoint import Endpoint, reach
from eval.fit import check_mode
from eval.needs import needs
from eval.runfile import Server
from eval.suite import Arm, Suite
from ragtune.errors import Unavailable
from ragtune.mode import Mode
from ragtune.remote import Target

_GRACE = 10.0  # seconds: the service's own deadline should answer first
_BASE = "base"


@dataclass
class Parties:
    """The `service`, which is None where only endpoints are asked; `endpoints` and `modes` are by arm."""

    service: Service | None
    server: Server | None
    endpoints: Mapping[str, Endpoint]
    modes: Mapping[str, str]
    concurrency: int
    _free: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def asker(self, arm: Arm) -> Asker:
        """Who answers for the arm."""
        return self.endpoints[arm.name] if arm.outside else self.the_service

    @property
    def the_service(self) -> Service:
        """The service; there is one wherever an arm or a metric needs it."""
        assert self.service is not None
        return self.service

    def mode(self, arm: Arm) -> str:
        """What the arm asks: the mode, its versions pinned, or the endpoint's model."""
        return str(arm.model) if arm.outside else self.modes[arm.name]

    def place(self, arm: Arm) -> str:
        """What tells those apart who may answer differently to the same: the endpoint, or the base model."""
        if arm.outside:
            return self.endpoints[arm.name].url
        return self.server.fingerprint if self.server else ""

    def free(self, arm: Arm) -> asyncio.Semaphore:
        """So many requests at once to whoever answers for the arm: a slow endpoint holds up nobody else."""
        return self._free.setdefault(self.place(arm), asyncio.Semaphore(self.concurrency))


def needs_service(suite: Suite) -> bool:
    """Whether anything is asked of a ragtune service."""
    by_judge = suite.judge is not None and suite.judge.endpoint is None
    embeds = any("embedding" in needs(task.metrics) for task in suite.tasks)
    return by_judge or embeds or not all(arm.outside for arm in suite.arms)


@asynccontextmanager
async def gathered(suite: Suite, target: Target | None) -> AsyncIterator[Parties]:
    """All of them, reachable and able to answer for their arms.

    Raises Unavailable if no service answers at `target`, and RefusedArtifact for an arm that cannot be answered, or a
    key that is not set: before any question.
    """
    async with AsyncExitStack() as open_:
        endpoints = {
            arm.name: await open_.enter_async_context(reach(arm, timeout=suite.timeout, concurrency=suite.concurrency))
            for arm in suite.arms
            if arm.outside
        }
        service, server = None, None
        if needs_service(suite):
            if target is None:
                raise Unavailable("a ragtune service is needed; start one with 'ragtune serve'")
            service = await open_.enter_async_context(
                connect(target, timeout=suite.timeout + _GRACE, concurrency=suite.concurrency, deadline=suite.timeout)
            )
            server = await service.describe()
        modes = {arm.name: await _pinned(service, suite, arm) for arm in suite.arms if service and not arm.outside}
        yield Parties(service, server, endpoints, modes, suite.concurrency)


async def pinned(service: Service, mode: str) -> Mode:
    """What the mode means now, its versions named. Raises RefusedArtifact if it cannot be answered in."""
    model = await service.check(mode)
    return Mode() if model.kind == _BASE else Mode.parse(model.root)


async def _pinned(service: Service, suite: Suite, arm: Arm) -> str:
    """The arm's mode as the service resolves it now; without its rag part where the arm has no context.

    Raises RefusedArtifact if it cannot be answered, or does not retrieve what the arm or a task needs.
    """
    mode = await pinned(service, arm.asked_mode)
    for task in suite.asked(arm):
        check_mode(arm, mode, task)
    return str(replace(mode, rag=False, index=None) if arm.context == "none" else mode)
