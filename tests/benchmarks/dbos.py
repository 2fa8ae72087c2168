"""DBOS: workflows are started at once, in the process that executes them."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.benchmarks.work import Engine, Engines, Work, peer

#: As its documentation advises for many workflows at once: a pool of connections as large as there are threads to use.
POOL: Final = 20
THREADS: Final = 64
#: How often a queue is looked at; by itself it is once in a second.
POLL_SECONDS: Final = 0.05


def _launched(url: str) -> Any:
    module = peer("dbos")
    module.DBOS(
        config=module.DBOSConfig(
            name="benchmark",
            system_database_url=_for_sqlalchemy(url),
            sys_db_pool_size=POOL,
            max_executor_threads=THREADS,
            log_level="ERROR",
        )
    )
    return module


def _for_sqlalchemy(url: str) -> str:
    """Return the same address with the database where SQLAlchemy looks for it."""
    query = dict(parse_qsl(urlsplit(url).query))
    user, database = query.pop("user", "postgres"), query.pop("dbname")
    return f"postgresql+psycopg://{user}@/{database}?{urlencode(query)}"


def sync_steps(url: str, runs: int, stages: int) -> float:
    """Return the seconds that all runs take with sync workflows in threads."""
    dbos = _launched(url).DBOS

    def pass_on(value: int) -> int:
        return value

    step = dbos.step()(pass_on)

    def carry_out(value: int) -> int:
        for _ in range(stages):
            value = step(value)
        return value

    flow = dbos.workflow()(carry_out)

    dbos.launch()
    dbos.start_workflow(flow, 0).get_result()
    begun = time.perf_counter()
    handles = [dbos.start_workflow(flow, number) for number in range(runs)]
    for handle in handles:
        handle.get_result()
    return time.perf_counter() - begun


def async_steps(url: str, runs: int, stages: int) -> float:
    """Return the seconds that all runs take with async workflows on one loop."""
    dbos = _launched(url).DBOS

    async def pass_on(value: int) -> int:
        return value

    step = dbos.step()(pass_on)

    async def carry_out(value: int) -> int:
        for _ in range(stages):
            value = await step(value)
        return value

    flow = dbos.workflow()(carry_out)

    dbos.launch()

    async def main() -> float:
        await (await dbos.start_workflow_async(flow, 0)).get_result()
        begun = time.perf_counter()

        async def one(number: int) -> None:
            handle = await dbos.start_workflow_async(flow, number)
            await handle.get_result()

        await asyncio.gather(*(one(number) for number in range(runs)))
        return time.perf_counter() - begun

    return asyncio.run(main())


def starts(url: str, work: Work) -> list[float]:
    """Return the seconds from each enqueueing to the call of the workflow."""
    module = _launched(url)
    dbos = module.DBOS

    def carry_out(_: int) -> float:
        return time.perf_counter()

    flow = dbos.workflow()(carry_out)

    dbos.launch()
    dbos.register_queue("benchmark", polling_interval_sec=POLL_SECONDS)
    waits: list[float] = []
    for number in range(work.starts):
        time.sleep(work.pause_seconds)
        begun = time.perf_counter()
        waits.append(dbos.enqueue_workflow("benchmark", flow, number).get_result() - begun)
    return waits


def _settings(kind: str) -> str:
    sizes = f"sys_db_pool_size={POOL}, max_executor_threads={THREADS}"
    return f"{kind} workflows, {sizes}, queue polled every {POLL_SECONDS} s"


ENGINES: Final[Engines] = {
    "dbos-sync": Engine(
        package="dbos", settings=_settings("sync"), steps=sync_steps, alone=partial(sync_steps, runs=1), starts=starts
    ),
    "dbos-async": Engine(package="dbos", settings=_settings("async"), steps=async_steps),
}
