"""One load on a store: runs that are created and then executed by a worker until none is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic

import attrs

from holdfast.authoring.flow import Flow
from holdfast.authoring.registry import Registry
from holdfast.commands.run_create import RunCreate
from holdfast.entities.run import Run
from holdfast_testing.bench.flows import FinishLine, straight
from holdfast_testing.bench.hosts import MakeWorker, Opened, OpenedStore, OpenStore, RunsJobs

#: Creations that are under way at once.
CREATING: Final = 64
#: Pause between two looks at whether the last commits are done.
_LOOK_SECONDS: Final = 0.002


@attrs.frozen(kw_only=True)
class Site:
    """A fresh store, open, with a workflow that can be measured on it."""

    opened: OpenedStore
    flow: Flow[Any, Any]
    finish: FinishLine
    make_worker: Callable[[], RunsJobs]

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[RunsJobs, None]:
        """Have a worker work for as long as the context lasts."""
        worker = self.make_worker()
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    async def create(self, number: int = 0, *, workflow_id: str | None = None) -> str:
        """Create one run, of the workflow that is measured unless another is named, and return its id."""
        created = await self.opened.kernel.dispatch(RunCreate(workflow_id=workflow_id or self.flow.id, input=number))
        return created.run_id

    async def create_many(self, runs: int, *, workflow_id: str | None = None) -> list[str]:
        """Create *runs* runs, some at once, and return their ids."""
        numbers = iter(range(runs))

        async def some() -> list[str]:
            return [await self.create(number, workflow_id=workflow_id) for number in numbers]

        return [run_id for ids in await asyncio.gather(*(some() for _ in range(CREATING))) for run_id in ids]

    async def ended(self, run_ids: Sequence[str], *, look_seconds: float = _LOOK_SECONDS) -> list[Run]:
        """Return the runs once all of them have ended, the last of them first looked at."""
        runs: list[Run] = []
        for run_id in reversed(run_ids):
            while (run := await self._find_ended(run_id)) is None:  # noqa: ASYNC110 - the store tells nobody of ends
                await asyncio.sleep(look_seconds)
            runs.append(run)
        return runs[::-1]

    async def _find_ended(self, run_id: str) -> Run | None:
        run = await self.opened.persistence.find_run(run_id)
        return run if run is not None and run.status.is_terminal else None


@attrs.frozen(kw_only=True)
class Opening(Generic[Opened]):
    """How sites are opened."""

    open_store: OpenStore[Opened]
    make_worker: MakeWorker[Opened]
    concurrency: int
    #: What a process is surrounded by that has nothing to do but to work.
    process: Callable[[], AbstractContextManager[object]] = nullcontext

    @asynccontextmanager
    async def site(
        self,
        store: str,
        *,
        stages: int = 1,
        make: Callable[[FinishLine], Flow[Any, Any]] | None = None,
        beside: Callable[[], Sequence[Flow[Any, Any]]] = tuple,
    ) -> AsyncGenerator[Site, None]:
        """Open the store *store* with a workflow of *stages* stages in a row, or with the one that *make* gives.

        The workflows that *beside* gives are known there too.
        """
        finish = FinishLine()
        flow = straight(finish, stages=stages) if make is None else make(finish)
        registry = Registry([flow, *beside()])
        async with self.open_store(store, registry=registry, concurrency=self.concurrency) as opened:
            yield Site(
                opened=opened,
                flow=flow,
                finish=finish,
                make_worker=partial(self.make_worker, opened, concurrency=self.concurrency),
            )


@attrs.frozen(kw_only=True)
class Done:
    """How a load went."""

    #: By the store's clock, from before the worker was started to the commit that ended the last run.
    stages_per_second: float
    creates_per_second: float
    #: CPU time of the whole process and of the event loop's thread for one stage, in microseconds.
    cpu: float
    loop_cpu: float


async def carry(site: Site, *, runs: int, stages: int, around: AbstractContextManager[object] | None = None) -> Done:
    """Create *runs* runs and have them executed, within the context *around*."""
    begun = time.perf_counter()
    run_ids = await site.create_many(runs)
    creating = time.perf_counter() - begun
    site.finish.expect(runs)
    cpu, loop_cpu, since = time.process_time(), time.thread_time(), datetime.now(UTC)
    async with site.working():
        with around or nullcontext():
            await site.finish.wait()
        cpu, loop_cpu = time.process_time() - cpu, time.thread_time() - loop_cpu
        done = await site.ended(run_ids)
    until = max(run.finished_at for run in done if run.finished_at is not None)
    return Done(
        stages_per_second=runs * stages / (until - since).total_seconds(),
        creates_per_second=runs / creating,
        cpu=cpu / (runs * stages) * 1e6,
        loop_cpu=loop_cpu / (runs * stages) * 1e6,
    )
