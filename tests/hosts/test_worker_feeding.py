"""How work reaches the slots of a worker: by hints, by looking, by following a run, and what is left to others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from holdfast import BatchStage, Context, Flow, Registry, RunStatus, stage, workflow
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.ports.job_transport import JobHint
from holdfast.verdicts import JobOutcome
from holdfast_hosts.maintenance import maintain
from holdfast_hosts.wiring import Opened, Store, open_kernel
from tests.hosts.scenes import (
    BATCH,
    HOLD,
    LINE,
    ONCE,
    ONE,
    Provider,
    Scene,
    add_one,
    create,
    ended,
    opened,
    quick,
    status,
    until,
    working,
)

#: So long that nothing in a test happens by polling.
NEVER: Final = timedelta(seconds=3600)


#: A worker that is woken by hints alone, once it has looked when it was started.
HINTS_ONLY: Final = {"poll_min": NEVER, "poll_max": NEVER, "reap_interval": NEVER, "flush_interval": NEVER}


class Meeting:
    """Two stages that wait for each other."""

    def __init__(self) -> None:
        self.there = 0
        self.met = asyncio.Event()

    async def join(self) -> None:
        """Wait for the other one."""
        self.there += 1
        if self.there == 2:
            self.met.set()
        await self.met.wait()


@stage(retry=ONCE)
async def meet(number: int, ctx: Context) -> int:
    """Wait for the other one."""
    await ctx.services[Meeting].join()
    return number


@stage(retry=ONCE)
async def total(parts: tuple[int, int]) -> int:
    """Add up."""
    return sum(parts)


@stage(retry=ONCE, queue="elsewhere")
async def far(number: int) -> int:
    """Be executed by workers of another queue."""
    return number + 1


class Door:
    """Something to wait at."""

    def __init__(self) -> None:
        self.knocked = asyncio.Event()
        self.opened = asyncio.Event()
        self.knocks = 0


MEET: Final[Flow[int, int]] = (
    workflow("meet", input=int, version="1").parallel(meet, meet.using(name="meet_too")).pipe(total)
)


FAR: Final[Flow[int, int]] = workflow("far", input=int, version="1").pipe(add_one).pipe(far)


def test_weak_30_new_run_is_noticed_at_once() -> None:
    """A run that is created in the worker's process begins without any poll, and so does what follows in parallel."""

    async def main() -> None:
        services = {Meeting: Meeting()}
        async with opened(flows=(LINE, MEET), services=services) as there, working(there, quick(**HINTS_ONLY)):
            await asyncio.sleep(0.1)
            for flow in (LINE, MEET):
                assert await ended(there, await create(there, flow)) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_weak_30_due_polls_wake_the_worker() -> None:
    """A suspended stage is polled when it is due, and its run goes on, without any poll of the queue."""
    provider = Provider()

    async def main() -> None:
        async with opened(services={Provider: provider}) as there, working(there, quick(**HINTS_ONLY)):
            run_id = await create(there, BATCH)
            await until(lambda: provider.polls >= 3)
            provider.is_done = True
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_work_stored_before_the_start_is_found() -> None:
    """Runs that were created when nobody worked are executed when somebody does."""

    async def main() -> None:
        async with opened() as there:
            run_ids = [await create(there, LINE) for _ in range(40)]
            async with working(there, quick(**HINTS_ONLY)):
                assert set(await ended(there, *run_ids)) == {RunStatus.COMPLETED}

    asyncio.run(main())


def test_weak_31_parallel_stages_run_in_parallel() -> None:
    """Two stages of one group run at once in one worker: each waits for the other, and both complete."""

    async def main() -> None:
        async with opened(flows=(MEET,), services={Meeting: Meeting()}) as there, working(there):
            run_id = await create(there, MEET, 2)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_concurrency_is_bounded() -> None:
    """A worker executes as many jobs at once as it has slots, and no more."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there, quick(concurrency=2)) as worker:
            run_ids = [await create(there, HOLD) for _ in range(5)]
            await until(lambda: worker.stats().in_flight == 2)
            await asyncio.sleep(0.1)
            assert worker.stats().in_flight == 2
            leased = (await there.persistence.count()).leased
            assert leased == 2
            scene.go_on.set()
            assert set(await ended(there, *run_ids)) == {RunStatus.COMPLETED}

    asyncio.run(main())


def test_weak_05_busy_worker_strands_no_run() -> None:
    """Runs that are created and admitted while two workers look as often as they can all complete."""
    eager = quick(poll_min=timedelta(milliseconds=1), poll_max=timedelta(milliseconds=1))

    async def main() -> None:
        async with opened() as there, working(there, eager) as one, working(there, eager) as two:
            run_ids = [await create(there, LINE) for _ in range(100)]
            assert await ended(there, *run_ids) == [RunStatus.COMPLETED] * 100
            assert await there.persistence.list_orphans(limit=10) == []
            executed = [worker.stats().jobs_processed[JobOutcome.COMPLETED] for worker in (one, two)]
            assert sum(executed) == 300

    asyncio.run(main())


def test_other_queues_are_left_alone() -> None:
    """A worker executes jobs of its queues only; the run goes on where its next queue is served."""

    async def main() -> None:
        async with opened(flows=(FAR,)) as there, working(there):
            run_id = await create(there, FAR)
            await until_ready(there, run_id)
            await asyncio.sleep(0.1)
            assert await status(there, run_id) is RunStatus.RUNNING
            async with working(there, quick(queues=["elsewhere"])):
                assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


async def until_ready(there: Opened, run_id: str) -> None:
    """Wait until a job of the run is ready."""
    async with asyncio.timeout(20):
        while StageStatus.READY not in {one.status for one in await there.persistence.list_stages(run_id)}:
            await asyncio.sleep(0.002)


def test_unknown_workflow_is_left_alone() -> None:
    """A worker that lacks a workflow neither admits nor executes nor fails its runs; one that has it does."""

    async def main() -> None:
        async with opened(flows=(ONE, LINE)) as there:
            run_id = await create(there, LINE)
            async with open_kernel(store_of(there), registry=Registry([ONE])) as other, working(other) as worker:
                assert await ended(other, await create(other, ONE)) == [RunStatus.COMPLETED]
                await asyncio.sleep(0.1)
                assert await status(other, run_id) is RunStatus.PENDING
                assert worker.stats().errors == 0
            await there.persistence.open()
            async with working(there):
                assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def store_of(there: Opened) -> Store:
    """Return the store of an opened kernel, to open another one on it."""
    return Store(persistence=there.persistence, blob_store=there.blob_store)


def test_missing_stage_hands_the_job_back() -> None:
    """A job whose stage this process does not have is handed back at no attempt's cost, and the worker goes on."""
    shorter: Flow[int, int] = workflow("line", input=int, version="1").pipe(add_one.using(name="other"))

    async def main() -> None:
        async with opened(flows=(LINE, ONE)) as there:
            run_id = await create(there, LINE)
            async with working(there, quick(queues=["nobody"])):
                await until_ready(there, run_id)
            lacking = open_kernel(store_of(there), registry=Registry([shorter, ONE]))
            async with lacking as other, working(other, quick(concurrency=1)) as worker:
                await until(lambda: worker.stats().errors == 1)
                assert await ended(other, await create(other, ONE)) == [RunStatus.COMPLETED]
                (only,) = await other.persistence.list_stages(run_id)
                assert (only.status, only.attempt) == (StageStatus.READY, 0)
            await there.persistence.open()

    asyncio.run(main())


def test_hints_from_other_threads_wake_the_worker() -> None:
    """A run that another thread creates, in a loop of its own, begins without any poll."""

    async def main() -> None:
        async with opened() as there, working(there, quick(**HINTS_ONLY)):
            await asyncio.sleep(0.05)
            run_id = await asyncio.to_thread(lambda: asyncio.run(create(there, LINE)))
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    # The debug mode refuses what other threads may not do to a loop.
    asyncio.run(main(), debug=True)


def test_hint_of_a_broker_wakes_the_worker() -> None:
    """A job that became ready unnoticed is executed as soon as the transport hints at it."""

    async def main() -> None:
        async with (
            opened() as there,
            opened(store_of(there)) as elsewhere,
            working(there, quick(**HINTS_ONLY)) as worker,
        ):
            await asyncio.sleep(0.1)
            run_id = await create(elsewhere, ONE)
            await maintain(elsewhere.kernel, worker="elsewhere")
            await asyncio.sleep(0.1)
            assert sum(worker.stats().jobs_processed.values()) == 0
            hint = JobHint(key=StageKey(run_id=run_id, stage_id="add_one"), queue="default")
            await there.transport.enqueue((hint,))
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_what_is_due_later_is_known_after_a_restart() -> None:
    """A worker that finds a suspended stage in the store wakes up when it is due, without any poll of the queue."""
    provider = Provider()

    class Soon(BatchStage[int, str, int]):
        name, poll_every = "soon", "300ms"

        async def submit(self, number: int, ctx: Context, /) -> str:
            return "x"

        async def poll(self, reference: str, ctx: Context, /) -> int:
            return 1

    flow: Flow[int, int] = workflow("soon", input=int, version="1").pipe(Soon())

    async def main() -> None:
        async with opened(flows=(flow,), services={Provider: provider}) as there:
            async with working(there) as worker:
                run_id = await create(there, flow)
                await until(lambda: worker.stats().jobs_processed[JobOutcome.SUSPENDED] == 1)
            async with opened(store_of(there), flows=(flow,)) as again, working(again, quick(**HINTS_ONLY)):
                assert await ended(again, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_weak_32_slow_poll_delays_nothing_else() -> None:
    """While a provider does not answer a poll, runs are executed and sweeps made, and nobody else polls the stage."""
    door = Door()

    class SlowBatch(BatchStage[int, str, int]):
        name, poll_every = "slow", "1ms"

        async def submit(self, number: int, ctx: Context, /) -> str:
            return "x"

        async def poll(self, reference: str, ctx: Context, /) -> int:
            door.knocks += 1
            door.knocked.set()
            await door.opened.wait()
            return 1

    flow: Flow[int, int] = workflow("slow", input=int, version="1").pipe(SlowBatch())

    async def main() -> None:
        async with opened(flows=(flow, LINE)) as there, working(there) as one, working(there):
            slow = await create(there, flow)
            await door.knocked.wait()
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            passes = one.stats().passes
            await until(lambda: one.stats().passes > passes + 1)
            assert door.knocks == 1
            door.opened.set()
            assert await ended(there, slow) == [RunStatus.COMPLETED]
            assert door.knocks == 1

    asyncio.run(main())
