"""A worker as the one thing that a process does: signals, and an end that does not wait for threads that never do."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened
from holdfast_hosts.worker.host import Worker
from holdfast_hosts.worker.shift import WorkerStats

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: How the names of threads begin in which sync stages run.
THREAD_NAME: Final = "holdfast-stage"
#: How long threads of stages that have just ended get to end too.
THREAD_PATIENCE_SECONDS: Final = 0.2
#: How many objects more than before make the garbage collector look at the youngest. Python's own 700 are those of a
#: few stages, of which hardly any is garbage that only it can find.
YOUNG_OBJECTS: Final = 10_000


@contextmanager
def signal_handlers(*, stop: Callable[[], None], abort: Callable[[], None]) -> Generator[None, None, None]:
    """Call *stop* in the running loop at the first SIGTERM or SIGINT and *abort* at the second; a third kills.

    Only for the main thread of a process that belongs to the worker.
    """
    loop = asyncio.get_running_loop()
    earlier: dict[signal.Signals, Any] = {}
    seen = 0

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            restore()
        # Wakes the loop too, which would otherwise sleep on.
        loop.call_soon_threadsafe(stop if seen == 1 else abort)

    for number in SIGNALS:
        earlier[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


@contextmanager
def fewer_collections() -> Generator[None, None, None]:
    """Let the garbage collector leave alone what is there already, and look at new objects more seldom.

    Only for a process that belongs to the worker: what it has loaded by now lives as long as it does. A collector that
    the application has turned off, or made to look still more seldom, stays as it is.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    if 0 < before[0] < YOUNG_OBJECTS:
        gc.set_threshold(YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def run_worker(opened: Opened, *, settings: WorkerSettings | None = None) -> WorkerStats:
    """Run a worker until the first SIGTERM or SIGINT, drain, and return what it did; a second signal aborts.

    The process is taken to belong to the worker: its signals are handled and its garbage is collected more seldom.
    """
    worker, stop = Worker(opened, settings=settings), asyncio.Event()
    with signal_handlers(stop=stop.set, abort=worker.abort), fewer_collections():
        await worker.run(stop)
    return worker.stats()


def exit_process(code: int) -> NoReturn:
    """End the process with *code*, at once even if sync stages run on in their threads: nothing they do would count."""
    stuck = [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]
    for thread in stuck:
        thread.join(THREAD_PATIENCE_SECONDS / len(stuck))
    if any(thread.is_alive() for thread in stuck):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
