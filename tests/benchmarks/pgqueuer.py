"""PgQueuer: jobs are enqueued first, then a worker executes them; a step enqueues the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from tests.benchmarks.work import Engine, Engines, Work, peer

BATCH: Final = 50


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[Any]:
    parts = dict(parse_qsl(urlsplit(url).query))
    connection = await peer("asyncpg").connect(
        **{"database" if name == "dbname" else name: parts[name] for name in parts}
    )
    try:
        queue = peer("pgqueuer").PgQueuer(peer("pgqueuer.db").AsyncpgDriver(connection))
        await queue.qm.queries.install()
        yield queue
    finally:
        await connection.close()


def steps(url: str, runs: int, stages: int) -> float:
    """Return the seconds that a worker takes for all jobs."""

    async def main() -> float:
        async with _opened(url) as queue:
            left, ended = runs, asyncio.Event()

            async def pass_on(job: Any) -> None:
                nonlocal left
                value = int(job.payload)
                if value < stages:
                    await queue.qm.queries.enqueue("step", str(value + 1).encode())
                    return
                left -= 1
                if not left:
                    ended.set()

            queue.entrypoint("step")(pass_on)

            await queue.qm.queries.enqueue(["step"] * runs, [b"1"] * runs, [0] * runs)
            begun = time.perf_counter()
            worker = asyncio.create_task(queue.qm.run(batch_size=BATCH))
            await ended.wait()
            seconds = time.perf_counter() - begun
            queue.qm.shutdown.set()
            await asyncio.gather(worker, return_exceptions=True)
            return seconds

    return asyncio.run(main())


def starts(url: str, work: Work) -> list[float]:
    """Return the seconds from each enqueueing to the call of the job."""

    async def main() -> list[float]:
        waits: list[float] = []
        async with _opened(url) as queue:
            called: asyncio.Queue[float] = asyncio.Queue()

            async def pass_on(_: Any) -> None:
                called.put_nowait(time.perf_counter())

            queue.entrypoint("step")(pass_on)

            worker = asyncio.create_task(queue.qm.run(batch_size=1))
            for _ in range(work.starts):
                await asyncio.sleep(work.pause_seconds)
                begun = time.perf_counter()
                await queue.qm.queries.enqueue("step", b"")
                waits.append(await called.get() - begun)
            queue.qm.shutdown.set()
            await asyncio.gather(worker, return_exceptions=True)
        return waits

    return asyncio.run(main())


ENGINES: Final[Engines] = {
    "pgqueuer": Engine(
        package="pgqueuer",
        settings=f"batch_size={BATCH}, asyncpg",
        steps=steps,
        starts=starts,
    )
}
