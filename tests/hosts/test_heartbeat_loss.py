"""How attempts end whose lease is lost, or can no longer be extended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final, cast

from holdfast import Context, Flow, RunCancel, RunStatus, stage, workflow
from holdfast.commands.job_execute import JobExecute
from holdfast.entities.stage import Lease
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast.verdicts import JobOutcome
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.heartbeat import Heartbeat, Pulse
from holdfast_hosts.maintenance import maintain
from holdfast_hosts.wiring import Opened, Store
from tests.hosts.scenes import (
    HOLD,
    HOLD_THREAD,
    ONCE,
    ONE,
    QUICK,
    Outage,
    Scene,
    create,
    ended,
    flaky_store,
    opened,
    quick,
    status,
    until,
    working,
)


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


@stage(retry=ONCE)
async def despair(number: int) -> int:
    """Cancel itself, as a library does that loses its own task."""
    raise asyncio.CancelledError


#: Longer than any test.
LONG: Final = timedelta(hours=1)
DESPAIR: Final[Flow[int, int]] = workflow("despair", input=int, version="1").pipe(despair)
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


def test_slot_forgets_that_it_was_interrupted() -> None:
    """After an interruption a stage that raises a cancellation of its own still fails alone, and the slot lives on."""
    scene = Scene()

    async def main() -> None:
        flows = (HOLD, DESPAIR, ONE)
        async with opened(flows=flows, services={Scene: scene}) as there, working(there, quick(concurrency=1)):
            run_id = await create(there, HOLD)
            await scene.has_begun()
            await there.kernel.dispatch(RunCancel(run_id=run_id))
            await until(scene.has_notes)
            assert await ended(there, await create(there, DESPAIR)) == [RunStatus.FAILED]
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]

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


def test_job_is_handed_back_after_an_outage_at_no_attempts_cost() -> None:
    """What could not be committed is handed back once the store is there again, though it was away for many tries."""
    scene, (outage, store) = Scene(), flaky_store()

    async def main() -> None:
        async with opened(store, services={Scene: scene}, lease=LONG) as there, working(there) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            outage.fail()
            before = outage.calls["commit"]
            scene.go_on.set()
            await until(lambda: outage.calls["commit"] > before + 8)
            outage.heal()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().released == 1

    asyncio.run(main())


class Stuck(Outage):
    """A store that is away for extensions and for the first commit, and does not answer the second."""

    def __init__(self, persistence: Persistence) -> None:
        super().__init__(persistence)
        self.answers = asyncio.Event()
        self.is_asked = False

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, fail, or wait."""
        if self.down and not self.is_asked:
            self.is_asked = True
            raise self.error
        if self.down:
            await self.answers.wait()
        return await self._persistence.commit(*args, **kwargs)


def test_slot_outlives_a_lease_that_ends_while_it_is_handed_back() -> None:
    """A slot that waits for the store to take a job back is not stopped when the job's lease ends meanwhile."""
    scene = Scene()

    async def main() -> None:
        stuck = Stuck(cast("Persistence", MemoryPersistence(clock=SystemClock())))
        store = Store(persistence=cast("Persistence", stuck), blob_store=MemoryBlobStore())
        settings = quick(concurrency=1, reap_interval=LONG)
        async with opened(store, services={Scene: scene}) as there, working(there, settings):
            run_id = await create(there, HOLD)
            await scene.has_begun()
            stuck.fail("extend")
            ends = await lease_end(there, run_id)
            scene.go_on.set()
            await until(lambda: stuck.is_asked and there.clock.now() > ends)
            stuck.heal()
            stuck.answers.set()
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]

    asyncio.run(main())


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
