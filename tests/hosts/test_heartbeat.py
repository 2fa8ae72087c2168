"""How leases are kept while stages run, how traces reach the store, and how attempts end whose lease is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any, Final, cast

from holdfast import Context, EventType, Flow, RunCancel, RunStatus, stage, workflow
from holdfast.attempts import JobOutcome
from holdfast.commands.job_execute import JobExecute
from holdfast.entities.stage import Lease, StageStatus
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.heartbeat import Heartbeat, Pulse
from holdfast_hosts.maintenance import maintain
from holdfast_hosts.wiring import Opened, Store
from tests.hosts.scenes import (
    HOLD,
    HOLD_THREAD,
    LEASE,
    ONCE,
    ONE,
    PATIENCE,
    QUICK,
    Outage,
    Scene,
    create,
    ended,
    events,
    flaky_store,
    opened,
    quick,
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


@stage(retry=ONCE)
async def stubborn(number: int, ctx: Context) -> int:
    """Go on although it is interrupted."""
    scene = ctx.services[Scene]
    scene.begun.set()
    while not scene.go_on.is_set():
        try:
            await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            scene.note("interrupted")
    return number + 1


BLOCK: Final[Flow[int, int]] = workflow("block", input=int, version="1").pipe(block)
CHAT: Final[Flow[int, int]] = workflow("chat", input=int, version="1").pipe(chat)
STUBBORN: Final[Flow[int, int]] = workflow("stubborn", input=int, version="1").pipe(stubborn)


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


def test_cancelled_run_interrupts_its_async_stage() -> None:
    """A stage whose run is cancelled is interrupted by the next extension, and its slot takes other jobs."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there, quick(concurrency=1)) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            assert (await there.kernel.dispatch(RunCancel(run_id=run_id))).cancelled
            await until(lambda: scene.notes == ["interrupted"])
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
            stats = worker.stats()
            assert (stats.lost, stats.released, stats.errors) == (1, 0, 0)
            assert await status(there, run_id) is RunStatus.CANCELLED

    asyncio.run(main())


def test_cancelled_run_is_seen_by_its_sync_stage() -> None:
    """A stage in a thread sees in its context that its run was cancelled."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there):
            run_id = await create(there, HOLD_THREAD)
            await scene.has_begun()
            await there.kernel.dispatch(RunCancel(run_id=run_id))
            await until(lambda: scene.notes == ["saw cancelled"])

    asyncio.run(main())


def test_stage_that_ignores_its_interruption_changes_nothing() -> None:
    """A stage that swallows the interruption runs on, is interrupted once, and its outcome is refused."""
    scene = Scene()

    async def main() -> None:
        there_flows = (STUBBORN, ONE)
        async with opened(flows=there_flows, services={Scene: scene}) as there, working(there) as worker:
            run_id = await create(there, STUBBORN)
            await scene.has_begun()
            await there.kernel.dispatch(RunCancel(run_id=run_id))
            await until(lambda: bool(scene.notes))
            scene.go_on.set()
            await until(lambda: worker.stats().jobs_processed[JobOutcome.LOST] == 1)
            assert scene.notes == ["interrupted"]
            assert await status(there, run_id) is RunStatus.CANCELLED
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_attempt_ends_before_a_lease_that_cannot_be_extended() -> None:
    """While the store cannot be reached an attempt goes on, but it is stopped before its lease can have ended."""
    scene, (outage, store) = Scene(), flaky_store()

    async def main() -> None:
        async with opened(store, services={Scene: scene}) as there, working(there) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            outage.fail("extend", "commit")
            await until(lambda: scene.notes == ["interrupted"])
            assert there.clock.now() < await lease_end(there, run_id)
            outage.heal()
            scene.go_on.set()
            await until(lambda: worker.stats().lost == 1)

    asyncio.run(main())


async def lease_end(there: Opened, run_id: str) -> Any:
    """Return when the lease of the run's only job ends."""
    (only,) = await there.persistence.list_stages(run_id)
    assert only.lease_until is not None
    return only.lease_until


class Hanging(Outage):
    """A store whose extensions never answer while the test says so."""

    def __init__(self, persistence: Persistence) -> None:
        super().__init__(persistence)
        self.hangs = False

    async def extend(self, *args: Any, **kwargs: Any) -> Any:
        """Hang, or extend."""
        while self.hangs:
            await asyncio.sleep(0.002)
        return await self._persistence.extend(*args, **kwargs)


def test_store_that_hangs_does_not_hold_the_heartbeat() -> None:
    """An extension that never answers is given up, and the attempt is stopped in time all the same."""
    scene = Scene()
    hanging = Hanging(MemoryPersistence(clock=SystemClock()))
    store = Store(persistence=cast("Persistence", hanging), blob_store=MemoryBlobStore())

    async def main() -> None:
        async with opened(store, services={Scene: scene}) as there, working(there):
            run_id = await create(there, HOLD)
            await scene.has_begun()
            hanging.hangs = True
            ends = await lease_end(there, run_id)
            await until(lambda: scene.notes == ["interrupted"])
            assert there.clock.now() < ends
            hanging.hangs = False
            scene.go_on.set()

    asyncio.run(main())


def test_attempt_that_has_just_been_settled_is_not_lost() -> None:
    """A lease that the attempt itself has settled a moment ago does not count as lost."""

    async def main() -> None:
        async with opened() as there:
            await create(there, ONE)
            leased = await lease(there)
            heartbeat = Heartbeat(there.kernel, settings=QUICK)
            pulse = heartbeat.pulse()
            pulse.task = asyncio.current_task()
            live = pulse.hold(leased, granted=0.0)
            await there.kernel.dispatch(command(leased, pulse))
            assert pulse.current is live
            await heartbeat.tick()
            assert (heartbeat.lost, live.watch.cancelled, live.is_lost) == (0, False, False)
            await asyncio.sleep(0)

    asyncio.run(main())


def test_lease_that_was_taken_back_is_lost() -> None:
    """An attempt is told, once, that its lease is lost when another worker has taken the job back."""

    async def main() -> None:
        async with opened(lease=timedelta(milliseconds=1)) as there:
            await create(there, HOLD)
            mine = await lease(there)
            heartbeat = Heartbeat(there.kernel, settings=QUICK)
            pulse = heartbeat.pulse()
            live = pulse.hold(mine)
            await asyncio.sleep(0.005)
            assert (await maintain(there.kernel, worker="other")).stale_released == 1
            assert await status(there, mine.key.run_id) is RunStatus.FAILED
            await heartbeat.tick()
            assert (heartbeat.lost, live.watch.cancelled) == (1, True)
            await heartbeat.tick()
            assert heartbeat.lost == 1

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
