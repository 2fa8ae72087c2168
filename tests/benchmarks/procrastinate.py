"""Procrastinate: jobs are deferred first, then a worker executes them; a step defers the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.benchmarks.work import Engine, Engines, Work, peer

CONCURRENCY: Final = 16


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[Any]:
    module = peer("procrastinate")
    app = module.App(connector=module.PsycopgConnector(conninfo=url, min_size=CONCURRENCY, max_size=CONCURRENCY + 4))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        yield app


def steps(url: str, runs: int, stages: int) -> float:
    """Return the seconds that a worker takes for all jobs."""

    async def main() -> float:
        async with _opened(url) as app:
            left, ended = runs, asyncio.Event()

            async def pass_on(value: int) -> None:
                nonlocal left
                if value < stages:
                    await step.defer_async(value=value + 1)
                    return
                left -= 1
                if not left:
                    ended.set()

            step = app.task(name="step")(pass_on)

            await step.batch_defer_async(*({"value": 1} for _ in range(runs)))
            begun = time.perf_counter()
            worker = asyncio.create_task(
                app.run_worker_async(
                    concurrency=CONCURRENCY, wait=True, install_signal_handlers=False, delete_jobs="successful"
                )
            )
            await ended.wait()
            seconds = time.perf_counter() - begun
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            return seconds

    return asyncio.run(main())


def starts(url: str, work: Work) -> list[float]:
    """Return the seconds from each deferring to the call of the job."""

    async def main() -> list[float]:
        waits: list[float] = []
        async with _opened(url) as app:
            called: asyncio.Queue[float] = asyncio.Queue()

            async def pass_on(value: int) -> None:
                called.put_nowait(time.perf_counter())

            step = app.task(name="step")(pass_on)

            worker = asyncio.create_task(app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False))
            for number in range(work.starts):
                await asyncio.sleep(work.pause_seconds)
                begun = time.perf_counter()
                await step.defer_async(value=number)
                waits.append(await called.get() - begun)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        return waits

    return asyncio.run(main())


ENGINES: Final[Engines] = {
    "procrastinate": Engine(
        package="procrastinate",
        settings=f"concurrency={CONCURRENCY}, as many connections, delete_jobs=successful",
        steps=steps,
        starts=starts,
    )
}
