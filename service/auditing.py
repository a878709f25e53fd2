"""The outermost layer: whoever would change something is written down, also where the border or the gate refuses.

The row is on the disk before the answer's first byte goes out, so nobody has an answer that the log does not know.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragtune.audit import AuditLog, Entry
from service.access import Doors, known_caller

log = logging.getLogger("ragtune.audit")
_ASKS = ((), ("query",))  # what a route needs that changes nothing
_GONE = 499  # the log's word for a client that did not wait


class Audited:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, doors: Doors, audit: AuditLog) -> None:
        self._app = app
        self._doors = doors
        self._audit = audit
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="audit")  # searches must not keep it waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; keep what changes something."""
        if scope["type"] == "http" and scope["method"] != "GET" and self._doors.needed(scope) not in _ASKS:
            await self._keep(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _keep(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, told = 500, False

        async def outgoing(message: Message) -> None:
            nonlocal told
            if message["type"] == "http.response.start":
                told = True
                await self._tell(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, outgoing)
        except asyncio.CancelledError:
            status = _GONE
            raise
        finally:
            if not told:
                await self._tell(scope, status)

    async def _tell(self, scope: Scope, status: int) -> None:
        caller = known_caller(scope)
        entry = Entry(
            who=caller.name if caller else None,
            key=caller.key if caller else None,
            tenant=caller.tenant or None if caller else None,
            method=scope["method"],
            path=scope["path"],
            status=status,
            request_id=scope.get("ragtune.request_id"),
        )
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write, entry)

    def _write(self, entry: Entry) -> None:
        try:
            self._audit.write(entry)
        except Exception:  # the change is made: its answer must not be lost, and neither may the entry
            log.exception("the audit log cannot be written: %s", entry.model_dump_json())
