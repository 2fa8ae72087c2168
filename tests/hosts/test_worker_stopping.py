"""How a worker ends: what it finishes, what it hands back, and how long it takes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, Final, cast

import pytest

from holdfast import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.ports.persistence import Persistence
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.wiring import Opened, Store
from holdfast_hosts.worker import Worker
from tests.hosts.scenes import (
    HOLD,
    HOLD_THREAD,
    LINE,
    ONE,
    PATIENCE,
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

#: No lease ends by itself in these tests: what is free again was handed back.
LONG_LEASE: Final = timedelta(seconds=300)


async def stages(there: Opened, run_id: str) -> dict[str, tuple[StageStatus, int]]:
    """Return status and attempt of each stage instance."""
    return {one.key.stage_id: (one.status, one.attempt) for one in await there.persistence.list_stages(run_id)}


def test_weak_51_stop_waits_for_the_running_job() -> None:
    """A worker that is told to stop takes on nothing more and ends when what it executes is done."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=LONG_LEASE) as there:
            worker = Worker(there, settings=quick())
            await worker.start()
            run_id = await create(there, HOLD)
            await scene.has_begun()
            stopping = asyncio.create_task(worker.stop())
            await asyncio.sleep(0.05)
            late = await create(there, ONE)
            await asyncio.sleep(0.1)
            assert not stopping.done()
            assert worker.is_running
            assert not there.presence.has_worker
            assert await status(there, late) is RunStatus.PENDING
            scene.go_on.set()
            await stopping
            assert scene.notes == []
            assert (await stages(there, run_id))["hold"] == (StageStatus.COMPLETED, 1)
            assert not worker.stats().aborted

    asyncio.run(main())


def test_draining_worker_follows_no_chain() -> None:
    """The job that the last commit leased to a draining worker is handed back at no attempt's cost."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=LONG_LEASE) as there:
            async with working(there) as worker:
                run_id = await create(there, HOLD)
                await scene.has_begun()
                stopping = asyncio.create_task(worker.stop())
                await asyncio.sleep(0.02)
                scene.go_on.set()
                await stopping
            assert await stages(there, run_id) == {
                "hold": (StageStatus.COMPLETED, 1),
                "add_one": (StageStatus.READY, 0),
            }
            assert worker.stats().released == 1
            async with working(there):
                assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_drain_timeout_cancels_and_hands_back() -> None:
    """What is not finished when the drain timeout is over is interrupted and handed back at no attempt's cost."""
    scene, thread_scene = Scene(), Scene()

    async def main() -> None:
        settings = quick(drain_timeout=timedelta(milliseconds=50))
        for flow, there_scene, note in ((HOLD, scene, "interrupted"), (HOLD_THREAD, thread_scene, "saw cancelled")):
            async with opened(services={Scene: there_scene}, lease=LONG_LEASE) as there:
                async with working(there, settings):
                    run_id = await create(there, flow)
                    await there_scene.has_begun()
                ((state, attempt),) = (await stages(there, run_id)).values()
                assert (state, attempt) == (StageStatus.READY, 0)
                await until(there_scene.has_notes)
                assert there_scene.notes == [note]

    asyncio.run(main())


def test_abort_ends_a_drain_at_once() -> None:
    """A worker that drains is aborted by a second word: what it executes is interrupted and handed back at once."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=LONG_LEASE) as there, working(there) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            stopping = asyncio.create_task(worker.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            before = time.monotonic()
            worker.abort()
            await stopping
            assert time.monotonic() - before < PATIENCE / 4
            assert scene.notes == ["interrupted"]
            assert await stages(there, run_id) == {"hold": (StageStatus.READY, 0)}
            assert worker.stats().aborted

    asyncio.run(main())


def test_cancelled_worker_hands_back_and_raises() -> None:
    """A worker whose own task is cancelled hands its jobs back before the cancellation goes on."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=LONG_LEASE) as there:
            worker = Worker(there, settings=quick())
            task = asyncio.create_task(worker.run(asyncio.Event()))
            run_id = await create(there, HOLD)
            await scene.has_begun()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await stages(there, run_id) == {"hold": (StageStatus.READY, 0)}
            assert not worker.is_running
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_run_ends_when_it_is_told() -> None:
    """A worker that runs until an event is set drains then and returns."""

    async def main() -> None:
        async with opened() as there:
            worker, stop = Worker(there, settings=quick()), asyncio.Event()
            task = asyncio.create_task(worker.run(stop))
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            stop.set()
            await task
            assert not worker.is_running

    asyncio.run(main())


def test_stopping_goes_on_when_the_caller_is_cancelled() -> None:
    """Whoever asked a worker to stop may go away: it stops all the same, and can be waited for again."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there:
            worker = Worker(there, settings=quick())
            await worker.start()
            run_id = await create(there, HOLD)
            await scene.has_begun()
            impatient = asyncio.create_task(worker.stop())
            await asyncio.sleep(0.02)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            scene.go_on.set()
            await worker.stop()
            assert (await stages(there, run_id))["hold"] == (StageStatus.COMPLETED, 1)
            assert not worker.is_running

    asyncio.run(main())


def test_start_waits_for_the_stop_under_way() -> None:
    """A worker that is started while it stops stops first, and then works again."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there:
            worker = Worker(there, settings=quick())
            await worker.start()
            first = worker.stats().worker_id
            await create(there, HOLD)
            await scene.has_begun()
            stopping = asyncio.create_task(worker.stop())
            await asyncio.sleep(0.02)
            starting = asyncio.create_task(worker.start())
            await asyncio.sleep(0.02)
            assert worker.stats().worker_id == first
            scene.go_on.set()
            await asyncio.gather(stopping, starting)
            assert worker.stats().worker_id != first
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
            await worker.stop()

    asyncio.run(main())


class Slow(Outage):
    """A store whose answer to a lease comes when the test says so."""

    def __init__(self, persistence: Persistence) -> None:
        super().__init__(persistence)
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def lease(self, *args: Any, **kwargs: Any) -> Any:
        """Grant leases, and answer later."""
        leases = await self._persistence.lease(*args, **kwargs)
        if leases:
            self.asked.set()
            await self.answer.wait()
        return leases


def test_leases_that_arrive_while_draining_are_handed_back() -> None:
    """Jobs whose leases were granted but not yet received when the worker was told to stop are handed back."""

    async def main() -> None:
        slow = Slow(MemoryPersistence(clock=SystemClock()))
        store = Store(persistence=cast("Persistence", slow), blob_store=MemoryBlobStore())
        async with opened(store, lease=LONG_LEASE) as there:
            run_id = await create(there, LINE)
            async with working(there, quick(queues=["nobody"])) as other:
                await until(lambda: other.stats().claimed == 1)
            async with working(there) as worker:
                await slow.asked.wait()
                stopping = asyncio.create_task(worker.stop())
                await asyncio.sleep(0.02)
                slow.answer.set()
                await stopping
                assert await stages(there, run_id) == {"add_one": (StageStatus.READY, 0)}
                assert worker.stats().released == 1

    asyncio.run(main())


class Mute(Outage):
    """A store that commits what gives a lease, and never answers."""

    def __init__(self, persistence: Persistence) -> None:
        super().__init__(persistence)
        self.committed = asyncio.Event()

    async def commit(self, changes: Any) -> Any:
        """Commit, and keep the first answer that gives a lease behind a completed job to itself."""
        outcomes = await self._persistence.commit(changes)
        if not self.committed.is_set() and any(change.fence and change.step.jobs for change in changes):
            self.committed.set()
            await asyncio.Event().wait()
        return outcomes


def test_a_lease_that_was_given_unheard_is_handed_back() -> None:
    """A worker that is stopped while a commit gives it the next job of a run hands that job back too."""

    async def main() -> None:
        mute = Mute(MemoryPersistence(clock=SystemClock()))
        store = Store(persistence=cast("Persistence", mute), blob_store=MemoryBlobStore())
        async with opened(store, lease=LONG_LEASE) as there:
            worker = Worker(there, settings=quick(drain_timeout=timedelta()))
            await worker.start()
            run_id = await create(there, LINE)
            await mute.committed.wait()
            worker.abort()
            await worker.stop()
            found = await there.persistence.list_stages(run_id)
            assert [stage.key for stage in found if stage.lease_until is not None] == []
            assert [stage.status for stage in found] == [StageStatus.COMPLETED, StageStatus.READY]

    asyncio.run(main())


def test_store_that_is_away_does_not_hold_the_end() -> None:
    """A worker that cannot hand its jobs back ends all the same; they come back when their leases end."""
    scene, (outage, store) = Scene(), flaky_store()

    async def main() -> None:
        async with opened(store, services={Scene: scene}) as there:
            settings = quick(drain_timeout=timedelta(), release_timeout=timedelta(milliseconds=200))
            worker = Worker(there, settings=settings)
            await worker.start()
            run_id = await create(there, HOLD)
            await scene.has_begun()
            outage.fail()
            await worker.stop()
            assert len(asyncio.all_tasks()) == 1
            outage.heal()
            scene.go_on.set()
            (before,) = await there.persistence.list_stages(run_id)
            assert before.status is StageStatus.RUNNING

    asyncio.run(main())


def test_draining_worker_hands_back_when_the_store_is_there_again() -> None:
    """A worker that drains while the store is away hands back what it could not commit as soon as the store is back."""
    scene, (outage, store) = Scene(), flaky_store()

    async def main() -> None:
        async with opened(store, services={Scene: scene}, lease=LONG_LEASE) as there:
            worker = Worker(there, settings=quick())
            await worker.start()
            run_id = await create(there, HOLD)
            await scene.has_begun()
            outage.fail()
            before = outage.calls["commit"]
            stopping = asyncio.create_task(worker.stop())
            scene.go_on.set()
            await until(lambda: outage.calls["commit"] > before + 8)
            outage.heal()
            await stopping
            assert worker.stats().released == 1
            assert await stages(there, run_id) == {"hold": (StageStatus.READY, 0)}

    asyncio.run(main())


def test_sixteen_jobs_are_handed_back_together() -> None:
    """All slots hand back what they hold when the worker is aborted, none is forgotten."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=LONG_LEASE) as there, working(there) as worker:
            for _ in range(20):
                await create(there, HOLD)
            await until(lambda: worker.stats().in_flight == 16)
            worker.abort()
            await worker.stop()
            count = await there.persistence.count()
            assert (count.leased, count.ready) == (0, 16)
            assert worker.stats().in_flight == 0

    asyncio.run(main())
