"""Holdfast: runs are created first, then a worker in the same process executes them."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import Worker, fewer_collections
from holdfast_testing.bench.flows import stamped
from holdfast_testing.bench.load import Opening, carry
from holdfast_testing.bench.scenarios import one_run
from tests.benchmarks.work import Engine, Engines, Work


def _worker(opened: Opened, /, *, concurrency: int) -> Worker:
    return Worker(opened, settings=WorkerSettings(concurrency=concurrency))


def _opening(concurrency: int) -> Opening[Opened]:
    return Opening(open_store=open_kernel, make_worker=_worker, concurrency=concurrency)


def steps(url: str, runs: int, stages: int, *, concurrency: int) -> float:
    """Return the seconds from the start of the worker to the end of the last run."""

    async def main() -> float:
        async with _opening(concurrency).site(url, stages=stages) as site:
            done = await carry(site, runs=runs, stages=stages)
        return runs * stages / done.stages_per_second

    with fewer_collections():
        return asyncio.run(main())


def alone(url: str, stages: int) -> float:
    """Return the seconds that one run takes, from its start to its end."""

    async def main() -> float:
        async with _opening(16).site(url, stages=stages) as site, site.working():
            # The first prepares the statements.
            _, run = [await one_run(site) for _ in range(2)]
        assert run.started_at is not None, "it has run"
        assert run.finished_at is not None, "it has ended"
        return (run.finished_at - run.started_at).total_seconds()

    return asyncio.run(main())


def starts(url: str, work: Work) -> list[float]:
    """Return the seconds from each request for a run to the call of its stage."""

    async def main() -> list[float]:
        waits: list[float] = []
        async with _opening(16).site(url, make=stamped) as site, site.working():
            for _ in range(work.starts):
                await asyncio.sleep(work.pause_seconds)
                site.finish.expect(1)
                begun = time.perf_counter()
                run_id = await site.create()
                await site.finish.wait()
                waits.append(site.finish.at - begun)
                await site.ended([run_id])
        return waits

    return asyncio.run(main())


def _engine(concurrency: int) -> Engine:
    return Engine(
        package="holdfast",
        settings=f"concurrency={concurrency}",
        steps=partial(steps, concurrency=concurrency),
        alone=alone if concurrency == 16 else None,
        starts=starts if concurrency == 16 else None,
    )


ENGINES: Final[Engines] = {f"holdfast-{number}": _engine(number) for number in (16, 64, 200)}
