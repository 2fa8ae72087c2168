"""Absurd: tasks are spawned first, then a worker executes them; a step is a checkpoint of a task."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any, Final

from tests.benchmarks.work import Engine, Engines, Work, peer

#: Tasks that are claimed at once.
BATCH: Final = 50
POLL_SECONDS: Final = 0.05


def _installed(url: str) -> Any:
    """Put its schema into the database and return the module."""
    psycopg = peer("psycopg")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(peer("absurdctl").BUNDLED_SCHEMA_SQL)
    return peer("absurd_sdk")


def sync_steps(url: str, runs: int, stages: int, *, concurrency: int = 1) -> float:
    """Return the seconds that a sync worker takes for all tasks."""
    app = _installed(url).Absurd(url)
    app.create_queue()
    ended = threading.Event()
    left = iter(range(runs - 1, -1, -1))

    def carry_out(value: int, ctx: Any) -> int:
        for number in range(stages):
            value = ctx.step(f"step {number}", lambda: value)  # noqa: B023 - called before the next turn
        if next(left) == 0:
            ended.set()
        return value

    app.register_task("flow")(carry_out)

    for number in range(runs):
        app.spawn("flow", number)
    begun = time.perf_counter()
    worker = threading.Thread(
        target=partial(app.start_worker, concurrency=concurrency, batch_size=BATCH, poll_interval=POLL_SECONDS),
        daemon=True,
    )
    worker.start()
    ended.wait()
    app.stop_worker()
    worker.join()
    # The worker looks once more before it stops; that is none of the work.
    return time.perf_counter() - begun


def async_steps(url: str, runs: int, stages: int) -> float:
    """Return the seconds that an async worker takes for all tasks."""
    module = _installed(url)

    async def main() -> float:
        app = module.AsyncAbsurd(url)
        await app.create_queue()
        ended = asyncio.Event()
        left = runs

        async def carry_out(value: int, ctx: Any) -> int:
            nonlocal left

            async def same() -> int:
                return value

            for number in range(stages):
                value = await ctx.step(f"step {number}", same)
            left -= 1
            if not left:
                ended.set()
            return value

        app.register_task("flow")(carry_out)

        for number in range(runs):
            await app.spawn("flow", number)
        begun = time.perf_counter()
        worker = asyncio.create_task(app.start_worker(concurrency=BATCH, poll_interval=POLL_SECONDS))
        await ended.wait()
        app.stop_worker()
        await worker
        return time.perf_counter() - begun

    return asyncio.run(main())


def starts(url: str, work: Work) -> list[float]:
    """Return the seconds from each spawning to the call of the task."""
    app = _installed(url).Absurd(url)
    app.create_queue()
    called: list[float] = []
    there = threading.Semaphore(0)

    def carry_out(_: int, __: Any) -> int:
        called.append(time.perf_counter())
        there.release()
        return 0

    app.register_task("flow")(carry_out)

    threading.Thread(target=partial(app.start_worker, poll_interval=POLL_SECONDS), daemon=True).start()
    asked: list[float] = []
    caller = peer("absurd_sdk").Absurd(url)
    for number in range(work.starts):
        time.sleep(work.pause_seconds)
        asked.append(time.perf_counter())
        caller.spawn("flow", number, queue="default")
        there.acquire()
    return [after - before for before, after in zip(asked, called, strict=True)]


ENGINES: Final[Engines] = {
    "absurd-sync": Engine(
        package="absurd-sdk",
        settings=f"sync worker, batch_size={BATCH}, poll_interval={POLL_SECONDS}",
        steps=sync_steps,
        alone=partial(sync_steps, runs=1),
        starts=starts,
    ),
    "absurd-async": Engine(
        package="absurd-sdk",
        settings=f"async worker, concurrency={BATCH}, poll_interval={POLL_SECONDS}",
        steps=async_steps,
    ),
}
