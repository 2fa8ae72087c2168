"""How leases are kept while stages run, how traces reach the store, and how attempts end whose lease is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Final

from holdfast import Context, EventType, Flow, RunStatus, stage, workflow
from holdfast.commands.job_execute import JobExecute
from holdfast.entities.stage import Lease, StageStatus
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.heartbeat import Heartbeat, Pulse
from holdfast_hosts.maintenance import maintain
from holdfast_hosts.wiring import Opened, Store
from tests.hosts.scenes import (
    HOLD,
    LEASE,
    ONCE,
    ONE,
    PATIENCE,
    QUICK,
    Scene,
    create,
    ended,
    events,
    flaky_store,
    opened,
    status,
    until,
    until_blocking,
    working,
)

#: Far longer than the lease, so that it must have been extended several times.
LONG: Final = 3 * LEASE.total_seconds()


@stage(retry=ONCE)
async def block(number: int, ctx: Context) -> int:
    """Block the loop for several lease times, as code does that should have been a sync stage."""
    ctx.services[Scene].begun.set()
    time.sleep(LONG)
    return number + 1


@stage(retry=ONCE)
async def chat(number: int, ctx: Context) -> int:
    """Tell of itself, and wait until the test lets it go on."""
    ctx.log("it begins", level="warning", number=number)
    ctx.progress(1, 2, "half")
    scene = ctx.services[Scene]
    scene.begun.set()
    while not scene.go_on.is_set():
        await asyncio.sleep(0.002)
    ctx.log("it ends")
    return number


BLOCK: Final[Flow[int, int]] = workflow("block", input=int, version="1").pipe(block)
CHAT: Final[Flow[int, int]] = workflow("chat", input=int, version="1").pipe(chat)


async def lease(there: Opened, *, worker: str = "tester") -> Lease:
    """Admit what is pending and lease one job."""
    await maintain(there.kernel, worker=worker)
    known = there.kernel.ports.definitions.known()
    request = LeaseRequest(worker=worker, limit=1, ttl=there.kernel.ports.settings.lease_ttl, known=known)
    (only,) = await there.transport.dequeue(request)
    return only


def command(lease: Lease, pulse: Pulse) -> JobExecute:
    """Return the command to execute the job with the pulse."""
    return JobExecute(job=lease.key, worker=lease.worker, lease=lease, attend=pulse.attend)


def test_weak_01_parity_163_long_stage_outlives_many_leases() -> None:
    """A stage that takes several lease times keeps its lease, is executed once, and completes."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            (before,) = await there.persistence.list_stages(run_id)
            await asyncio.sleep(LONG)
            (after,) = await there.persistence.list_stages(run_id)
            assert before.lease_until is not None
            assert after.lease_until is not None
            assert after.lease_until - before.lease_until >= LEASE
            assert (after.epoch, after.attempt, after.status) == (1, 1, StageStatus.RUNNING)
            scene.go_on.set()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().lost == 0

    asyncio.run(main())


def test_blocked_loop_does_not_starve_the_heartbeat() -> None:
    """A stage that blocks the event loop for several lease times keeps its lease, although others reap meanwhile."""
    scene = Scene()
    persistence = MemoryPersistence(clock=SystemClock())
    store = Store(persistence=persistence, blob_store=MemoryBlobStore())
    reaped: list[int] = []
    done = threading.Event()

    def reap() -> None:
        """Sweep from another loop, as another process does."""

        async def sweeps() -> None:
            async with opened(store, flows=(BLOCK,)) as other:
                while not done.is_set():
                    reaped.append((await maintain(other.kernel, worker="other")).stale_released)
                    await asyncio.sleep(0.01)

        until_blocking(scene.begun.is_set)
        asyncio.run(sweeps())

    async def main() -> None:
        thread = threading.Thread(target=reap)
        thread.start()
        async with opened(store, flows=(BLOCK,), services={Scene: scene}) as there, working(there) as worker:
            run_id = await create(there, BLOCK)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            (only,) = await there.persistence.list_stages(run_id)
            assert (only.epoch, only.attempt) == (1, 1)
            assert worker.stats().lost == 0
            done.set()
            await asyncio.to_thread(thread.join)
            await persistence.open()

    asyncio.run(main())
    assert len(reaped) > 3
    assert sum(reaped) == 0


def test_progress_and_log_lines_are_seen_while_the_stage_runs() -> None:
    """What a stage tells reaches the store with the next heartbeat, and once only."""
    scene = Scene()

    async def main() -> None:
        async with opened(flows=(CHAT,), services={Scene: scene}) as there, working(there):
            run_id = await create(there, CHAT)
            async with asyncio.timeout(PATIENCE):
                while not (lines := await there.persistence.list_logs(run_id, limit=10)):
                    await asyncio.sleep(0.002)
            assert await status(there, run_id) is RunStatus.RUNNING
            assert [(line.message, line.level, line.data) for line in lines] == [
                ("it begins", "warning", {"number": 1})
            ]
            progress = [event for event in await events(there, run_id) if event.type is EventType.STAGE_PROGRESS]
            assert [event.data["done"] for event in progress] == [1]
            scene.go_on.set()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            lines = await there.persistence.list_logs(run_id, limit=10)
            assert [line.message for line in lines] == ["it begins", "it ends"]
            told = [event.type for event in await events(there, run_id)]
            assert told.count(EventType.STAGE_PROGRESS) == 1

    asyncio.run(main())


def test_traces_outlive_a_heartbeat_that_fails() -> None:
    """What a stage told while the store could not be reached is stored by a later beat."""
    scene, (outage, store) = Scene(), flaky_store()

    async def main() -> None:
        async with opened(store, flows=(CHAT,), services={Scene: scene}) as there, working(there) as worker:
            outage.fail("extend")
            run_id = await create(there, CHAT)
            await scene.has_begun()
            failed = outage.calls.get("extend", 0)
            await until(lambda: outage.calls.get("extend", 0) > failed + 2)
            assert await there.persistence.list_logs(run_id, limit=10) == []
            outage.heal()
            async with asyncio.timeout(PATIENCE):
                while not await there.persistence.list_logs(run_id, limit=10):
                    await asyncio.sleep(0.002)
            scene.go_on.set()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().lost == 0

    asyncio.run(main())


def test_only_due_leases_are_extended() -> None:
    """A tick that finds nothing due asks the store for nothing."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store, lease=timedelta(seconds=30)) as there:
            await create(there, ONE)
            leased = await lease(there)
            heartbeat = Heartbeat(there.kernel)
            pulse = heartbeat.pulse()
            live = pulse.hold(leased)
            await heartbeat.tick()
            assert "extend" not in outage.calls
            live.since -= 10.1
            await heartbeat.tick()
            await heartbeat.tick()
            assert outage.calls["extend"] == 1

    asyncio.run(main())


def test_many_leases_are_extended_by_few_commands() -> None:
    """Leases that are due together are extended together."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there:
            for _ in range(50):
                await create(there, ONE)
            heartbeat = Heartbeat(there.kernel, settings=QUICK)
            for _ in range(50):
                heartbeat.pulse().hold(await lease(there), granted=0.0)
            await heartbeat.tick()
            assert outage.calls["extend"] == 1
            assert heartbeat.lost == 0

    asyncio.run(main())


def test_thread_begins_and_ends_with_its_context() -> None:
    """The heartbeat's thread lives as long as its context, also when nothing is held."""

    async def main() -> None:
        async with opened() as there:
            heartbeat = Heartbeat(there.kernel, settings=QUICK)
            await heartbeat.stop()
            async with heartbeat.beating():
                assert "holdfast-heartbeat" in {thread.name for thread in threading.enumerate()}
            assert "holdfast-heartbeat" not in {thread.name for thread in threading.enumerate()}

    asyncio.run(main())
