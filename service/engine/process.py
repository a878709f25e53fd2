"""The engine's own process: a loop around `Engine.step`, a pipe to the server, and nothing else.

It is a process because every small torch operation lets go of Python's lock and may wait 5 ms to get it back while a
server thread is busy (DESIGN measured 30 ms against 5,092). It ends when the pipe closes, so it cannot outlive a server
that was killed.
"""

import logging
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ragtune.settings import Settings
from service.engine.engine import Engine
from service.engine.kv_blocks import KVBlocks
from service.engine.messages import (
    Admit,
    AskStats,
    Cancel,
    EngineInfo,
    Failed,
    Load,
    Ready,
    Shutdown,
    StartFailed,
    Stats,
    ToEngine,
    ToServer,
    Unload,
    Unpin,
)
from service.engine.runner import BLOCK, Runner, choose_device
from service.engine.scheduler import Scheduler
from service.engine.threads import choose_threads, processors, use

log = logging.getLogger("ragtune.engine")
_LOADER_POLL = 0.002  # seconds between looks while only an adapter is being read


def run(pipe: Connection, settings: Settings, folder: Path) -> None:
    """Load the model, then serve the pipe until it closes or a Shutdown comes."""
    for everyone in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server decides when we end
        signal.signal(everyone, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    sys.setswitchinterval(0.0002)  # the loader thread must not hold up a step's many small operations
    try:
        engine, info = start(settings, folder)
    except Exception as error:
        log.exception("the engine could not start")
        pipe.send([StartFailed(f"{type(error).__name__}: {error}")])
        return
    pipe.send([Ready(info)])
    try:
        while _serve(pipe, engine):
            pass
    except (EOFError, BrokenPipeError, ConnectionResetError):
        log.info("the server is gone; the engine ends")


def start(settings: Settings, folder: Path) -> tuple[Engine, EngineInfo]:
    """Build the engine these settings describe."""
    allowed = processors()
    device, threads = choose_device(settings.device), choose_threads(settings.threads)
    torch.manual_seed(0)
    blocks = KVBlocks(max(1, settings.kv_tokens // BLOCK), BLOCK)
    runner = Runner.from_folder(folder, blocks.total, device)
    longest = min(settings.max_model_len, runner.max_positions, blocks.total * BLOCK)
    step_tokens = max(settings.step_tokens, settings.max_running)  # every decoding row must find room in every step
    scheduler = Scheduler(blocks, step_tokens, settings.max_running, settings.prefix_cache)
    loader = ThreadPoolExecutor(1, "adapter-loader", use, (allowed,))
    engine = Engine(scheduler, runner, loader, time.monotonic, longest, settings.adapter_memory)
    dtype = str(runner.dtype).removeprefix("torch.")
    return engine, EngineInfo(longest, str(device), dtype, threads, blocks.total * BLOCK, runner.vocab_size)


def _serve(pipe: Connection, engine: Engine) -> bool:
    """Take what has arrived, compute one step, send what came of it; False to end."""
    events: list[ToServer] = []
    idle = engine.scheduler.running == [] and engine.scheduler.waiting == 0
    wait = 0.0 if not idle else _LOADER_POLL if engine.busy else None
    while pipe.poll(wait):
        message: ToEngine = pipe.recv()
        if isinstance(message, Shutdown):
            return False
        events += handle(engine, message)
        wait = 0.0
    before = engine.steps
    events += engine.step()
    if events:
        pipe.send(events)
    elif engine.steps == before and engine.busy:
        time.sleep(_LOADER_POLL)  # everything waits for an adapter or for room
    return True


def handle(engine: Engine, message: ToEngine) -> list[ToServer]:
    """Act on one message. A message that cannot be acted on fails alone."""
    match message:
        case Admit(generation):
            try:
                return engine.admit(generation)
            except Exception:
                log.exception("request %s could not be admitted", generation.request_id)
                return [Failed(generation.request_id, "engine_error", "the request could not be admitted")]
        case Cancel(request_id):
            engine.cancel(request_id)
            return []
        case Load(ref, pinned):
            return engine.load(ref, pinned=pinned)
        case Unpin(key):
            engine.unpin(key)
            return []
        case Unload(key):
            return engine.unload(key)
        case AskStats():
            return [Stats(engine.stats())]
        case Shutdown():
            return []
