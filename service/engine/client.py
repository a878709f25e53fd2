"""The engine as the server sees it: `admit` gives a stream of tokens.

The bound on the queue is kept here, so that a full queue is answered at once, however long the engine's present step
takes. One thread reads the pipe and hands events to the event loop, another writes to it, as a full pipe would hold up
the loop until the engine's step is over; everything else happens in the event loop.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import queue
import threading
from collections.abc import AsyncIterator, Callable
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ragtune.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFault,
    InvalidRequest,
    Overloaded,
    RagtuneError,
    RefusedArtifact,
    Unavailable,
)
from ragtune.settings import Settings
from service.engine import process
from service.engine.messages import (
    AdapterRef,
    Admit,
    AskStats,
    Began,
    Beginning,
    Cancel,
    EngineInfo,
    EngineStats,
    Failed,
    Finish,
    Finished,
    Generation,
    Load,
    LoadDone,
    Progress,
    Ready,
    Shutdown,
    StartFailed,
    Stats,
    ToEngine,
    TokenEvent,
    ToServer,
    Unload,
    UnloadDone,
    Unpin,
)

log = logging.getLogger("ragtune.engine")
_FAULT = "the engine failed on this request; the cause is in the server's log under the request id"


class Stream:
    """The tokens of one generation as they come. After the last, `finish` says how it ended.

    `beginning` is there before the first token.
    """

    def __init__(self, request_id: str, cancel: Callable[[str], None]) -> None:
        self.request_id = request_id
        self.finish: Finish | None = None
        self.beginning: Beginning | None = None
        self._events: asyncio.Queue[TokenEvent | Finish | RagtuneError] = asyncio.Queue()
        self._cancel = cancel

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Yields tokens; raises from the error tree if the generation fails."""
        while True:
            event = await self._events.get()
            if isinstance(event, TokenEvent):
                yield event
            elif isinstance(event, Finish):
                self.finish = event
                return
            else:
                raise event

    def cancel(self) -> None:
        """Free the slot in the next step. May be called at any time, also twice, also after the end."""
        self._cancel(self.request_id)

    def push(self, event: TokenEvent | Finish | RagtuneError) -> None:
        """Called by the client only."""
        self._events.put_nowait(event)


class EngineClient:
    """A running engine process. Made by `start`; all methods belong to the event loop it was started in."""

    def __init__(
        self, pipe: Connection, child: multiprocessing.process.BaseProcess, limit: int, info: EngineInfo
    ) -> None:
        self.info = info
        self._pipe = pipe
        self._child = child
        self._limit = limit
        self._streams: dict[str, Stream] = {}
        self._loads: dict[str, list[asyncio.Future[None]]] = {}
        self._unloads: dict[str, list[asyncio.Future[int]]] = {}
        self._stats: list[asyncio.Future[EngineStats]] = []
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._outbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, name=f"engine-{name}", daemon=True)
            for name, work in (("reader", self._read), ("writer", self._write))
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    async def start(cls, settings: Settings, base_folder: Path) -> "EngineClient":
        """Start the process and wait for its model. Raises Unavailable with the reason if it cannot start."""
        context = multiprocessing.get_context("spawn")  # never fork after torch was imported
        ours, theirs = context.Pipe()
        child = context.Process(target=process.run, args=(theirs, settings, base_folder), name="ragtune-engine")
        child.start()
        theirs.close()
        try:
            first = (await asyncio.to_thread(ours.recv))[0]
        except EOFError as error:
            raise Unavailable("the engine process ended while starting; its last words are in the log") from error
        except asyncio.CancelledError:
            child.kill()
            raise
        if not isinstance(first, Ready):
            reason = first.reason if isinstance(first, StartFailed) else str(first)
            raise Unavailable(f"the engine could not start: {reason}")
        return cls(ours, child, settings.max_running + settings.max_waiting, first.info)

    @property
    def alive(self) -> bool:
        """Whether generations can be admitted."""
        return not self._closed

    @property
    def in_flight(self) -> int:
        """Generations admitted and not ended."""
        return len(self._streams)

    def check_room(self, coming: int = 0) -> None:
        """Raises Overloaded if there is no place once `coming` others have taken theirs."""
        if len(self._streams) + coming >= self._limit:
            raise Overloaded(f"{self._limit} requests are running or waiting; try again shortly")

    async def admit(self, generation: Generation) -> Stream:
        """Queue a generation. Raises Overloaded at once if the queue is full, Unavailable if the engine is gone."""
        self._check_alive()
        self.check_room()
        if generation.request_id in self._streams:
            raise EngineFault(f"request id {generation.request_id!r} is in use")
        stream = Stream(generation.request_id, self._cancel)
        self._streams[generation.request_id] = stream
        self._send(Admit(generation))
        return stream

    async def load(self, ref: AdapterRef, *, pinned: bool = False) -> None:
        """Bring an adapter into memory beside what runs, if there is room; a `pinned` one stays there.

        Raises RefusedArtifact if it cannot be loaded.
        """
        self._check_alive()
        done: asyncio.Future[None] = self._loop.create_future()
        self._loads.setdefault(ref.key, []).append(done)
        self._send(Load(ref, pinned))
        await done

    def unpin(self, key: str) -> None:
        """Let a pinned adapter leave memory again when it is not used."""
        self._check_alive()
        self._send(Unpin(key))

    async def unload(self, key: str) -> int:
        """Drop an adapter once its last generation has ended; returns the bytes freed."""
        self._check_alive()
        done: asyncio.Future[int] = self._loop.create_future()
        self._unloads.setdefault(key, []).append(done)
        self._send(Unload(key))
        return await done

    async def stats(self) -> EngineStats:
        """A snapshot between two steps."""
        self._check_alive()
        done: asyncio.Future[EngineStats] = self._loop.create_future()
        self._stats.append(done)
        self._send(AskStats())
        return await done

    async def close(self, drain: float = 0.0) -> None:
        """Wait up to `drain` seconds for what runs, then end the process."""
        deadline = self._loop.time() + drain
        while self._streams and not self._closed and self._loop.time() < deadline:
            await asyncio.sleep(0.05)
        if not self._closed:
            self._send(Shutdown())
        await asyncio.to_thread(self._child.join, 10)
        if self._child.is_alive():
            log.warning("the engine did not end in time and is killed")
            self._child.kill()
            await asyncio.to_thread(self._child.join)
        self._outbox.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 5)
        self._pipe.close()

    def _check_alive(self) -> None:
        if self._closed:
            raise Unavailable("the engine is not running; restart the service")

    def _send(self, message: ToEngine) -> None:
        self._outbox.put(message)

    def _cancel(self, request_id: str) -> None:
        if self._streams.pop(request_id, None) is not None and not self._closed:
            self._send(Cancel(request_id))

    def _write(self) -> None:
        """The writer thread: messages to the pipe, until there is a None. That the pipe is gone, the reader notices."""
        while (message := self._outbox.get()) is not None:
            with contextlib.suppress(OSError):
                self._pipe.send(message)

    def _read(self) -> None:
        """The reader thread: events from the pipe to the event loop, until the pipe closes."""
        try:
            while True:
                self._loop.call_soon_threadsafe(self._dispatch, self._pipe.recv())
        except (EOFError, OSError):
            pass
        except RuntimeError:
            return  # the event loop is gone, and with it everyone who would listen
        try:
            self._loop.call_soon_threadsafe(self._lost)
        except RuntimeError:
            return

    def _dispatch(self, events: list[ToServer]) -> None:
        for event in events:
            match event:
                case Progress(request_id, tokens):
                    if stream := self._streams.get(request_id):
                        for token in tokens:
                            stream.push(token)
                case Began(request_id, beginning):
                    if stream := self._streams.get(request_id):
                        stream.beginning = beginning
                case Finished(request_id, finish):
                    self._end(request_id, finish)
                case Failed():
                    self._end(event.request_id, _as_error(event))
                case LoadDone(key, error):
                    for done in self._loads.pop(key, []):
                        _settle(done, None, RefusedArtifact(error) if error else None)
                case UnloadDone(key, freed):
                    for freed_future in self._unloads.pop(key, []):
                        _settle(freed_future, freed)
                case Stats(stats):
                    _settle(self._stats.pop(0), stats)
                case Ready() | StartFailed():
                    log.error("unexpected message from the engine: %s", event)

    def _end(self, request_id: str, outcome: Finish | RagtuneError) -> None:
        if stream := self._streams.pop(request_id, None):
            stream.push(outcome)

    def _lost(self) -> None:
        """The pipe is closed: everyone who waits hears of it."""
        if self._closed:
            return
        self._closed = True
        for request_id in list(self._streams):
            self._end(request_id, EngineFault("the engine stopped while this request was running"))
        gone = Unavailable("the engine is not running; restart the service")
        loads, unloads = chain(*self._loads.values()), chain(*self._unloads.values())
        for done in chain[asyncio.Future[Any]](self._stats, loads, unloads):
            _settle(done, None, gone)


def _settle(done: asyncio.Future[Any], value: object, error: RagtuneError | None = None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(value)


def _as_error(failed: Failed) -> RagtuneError:
    match failed.code:
        case "invalid_request":
            return InvalidRequest(failed.message)
        case "context_length_exceeded":
            return ContextLengthExceeded(failed.message)
        case "deadline_exceeded":
            return DeadlineExceeded(failed.message)
        case "refused_artifact":
            return RefusedArtifact(failed.message)
        case "engine_error":
            log.error("request %s failed in the engine: %s", failed.request_id, failed.message)
            return EngineFault(_FAULT)
