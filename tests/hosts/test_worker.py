"""What a worker does from start to stop: its slots, its counters, its hints, and what it leaves to others."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from typing import Any, Final

from holdfast import EventType, Flow, NeverRetry, RunStatus, stage, workflow
from holdfast.change import ZERO
from holdfast.verdicts import JobOutcome
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.worker import Worker
from holdfast_testing.sinks import CollectingSink
from tests.hosts.scenes import (
    FALL,
    HOLD,
    LINE,
    ONCE,
    ONE,
    Scene,
    create,
    ended,
    events,
    flaky_store,
    opened,
    quick,
    story,
    until,
    working,
)

#: So long that nothing in a test happens by polling.
NEVER: Final = timedelta(seconds=3600)


def test_parity_161_stopped_worker_is_not_running() -> None:
    """A worker counts its passes and its uptime while it runs; when it has stopped neither goes on."""

    async def main() -> None:
        async with opened() as there:
            worker = Worker(there, settings=quick())
            idle = worker.stats()
            assert (idle.is_running, idle.uptime, idle.started_at, idle.worker_id) == (False, ZERO, None, "")
            await worker.start()
            await until(lambda: worker.stats().passes >= 2)
            running = worker.stats()
            assert running.is_running
            assert running.uptime > ZERO
            assert running.started_at is not None
            await worker.stop()
            stopped = worker.stats()
            assert (stopped.is_running, stopped.uptime, stopped.started_at) == (False, ZERO, None)
            await asyncio.sleep(0.1)
            assert worker.stats() == stopped

    asyncio.run(main())


def test_parity_161_starting_and_stopping_twice_is_harmless() -> None:
    """A second start or stop changes nothing, and a worker that has stopped can start again under a new identity."""

    async def main() -> None:
        async with opened() as there:
            worker = Worker(there, settings=quick())
            await worker.stop()
            await worker.start()
            first = worker.stats().worker_id
            tasks = len(asyncio.all_tasks())
            await worker.start()
            assert (worker.stats().worker_id, len(asyncio.all_tasks())) == (first, tasks)
            await asyncio.gather(worker.stop(), worker.stop())
            await worker.stop()
            await worker.start()
            assert worker.stats().worker_id != first
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
            await worker.stop()
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_identity_is_random_and_names_no_host() -> None:
    """Each start has an identity of its own, which no other process can have by its name."""

    async def main() -> None:
        async with opened() as there:
            ids: set[str] = set()
            for _ in range(3):
                async with working(there) as worker:
                    ids.add(worker.stats().worker_id)
            assert len(ids) == 3
            assert all(re.fullmatch(r"worker-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in ids)

    asyncio.run(main())


def test_parity_164_events_reach_the_sink() -> None:
    """A worker delivers the events of its runs to the sink, all of them, in order and once."""
    sink = CollectingSink()

    async def main() -> None:
        async with opened(event_sinks=(sink,)) as there, working(there):
            run_id = await create(there, LINE)
            await ended(there, run_id)
            await until(lambda: any(event.type is EventType.RUN_COMPLETED for event in sink.events))
            assert sink.of_run(run_id) == await events(there, run_id)

    asyncio.run(main())


def test_last_events_are_delivered_before_the_worker_ends() -> None:
    """What happened until a worker has drained is delivered before it ends."""
    sink = CollectingSink()

    async def main() -> None:
        async with opened(event_sinks=(sink,)) as there:
            settings = quick(flush_interval=NEVER, flush_pause=NEVER)
            async with working(there, settings):
                run_id = await create(there, LINE)
                await ended(there, run_id)
            assert sink.of_run(run_id) == await events(there, run_id)

    asyncio.run(main())


def test_weak_20_slow_sink_delays_no_run() -> None:
    """A sink that never answers delays neither jobs nor sweeps, and does not keep the worker from stopping."""

    class SlowSink(CollectingSink):
        async def deliver(self, events: Any) -> None:
            """Never answer."""
            await asyncio.Event().wait()

    async def main() -> None:
        async with opened(event_sinks=(SlowSink(),)) as there:
            settings = quick(release_timeout=timedelta(milliseconds=20))
            async with working(there, settings) as worker:
                run_ids = [await create(there, LINE) for _ in range(5)]
                assert set(await ended(there, *run_ids)) == {RunStatus.COMPLETED}
                passes = worker.stats().passes
                await until(lambda: worker.stats().passes > passes)

    asyncio.run(main())


def test_stats_count_what_became_of_the_jobs() -> None:
    """A worker counts jobs by outcome, admitted runs, and what it executes now."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there) as worker:
            done = [await create(there, flow) for flow in (LINE, ONE, FALL)]
            await ended(there, *done)
            held = await create(there, HOLD)
            await scene.has_begun()
            stats = worker.stats()
            assert stats.in_flight == 1
            assert stats.claimed == 4
            assert stats.jobs_processed[JobOutcome.COMPLETED] == 4
            assert stats.jobs_processed[JobOutcome.FAILED] == 1
            assert (stats.errors, stats.lost, stats.released, stats.aborted) == (0, 0, 0, False)
            scene.go_on.set()
            await ended(there, held)
            await until(lambda: worker.stats().in_flight == 0)

    asyncio.run(main())


def test_idle_worker_costs_next_to_nothing() -> None:
    """A worker without work that looks as seldom as it does uses less than half a percent of a processor.

    A busy machine makes everything dearer, so the best of a few looks counts.
    """
    period = 2.0

    async def main() -> float:
        slowest = WorkerSettings().poll_max
        async with opened(lease=timedelta(seconds=30)) as there, working(there, WorkerSettings(poll_min=slowest)):
            await asyncio.sleep(0.2)
            before = time.process_time()
            await asyncio.sleep(period)
            return (time.process_time() - before) / period

    assert any(asyncio.run(main()) < 0.005 for _ in range(5))


def test_idle_worker_looks_ever_more_seldom() -> None:
    """The pause between two looks doubles from the shortest to the longest, so no idle loop is busy."""
    outage, store = flaky_store()

    async def main() -> None:
        settings = WorkerSettings(poll_max=timedelta(milliseconds=80))
        async with opened(store) as there, working(there, settings):
            # At 0, 10, 30 and 70 ms, then every 80 ms; a busy machine makes it fewer, never more.
            await asyncio.sleep(0.5)
            assert 2 <= outage.calls["lease"] <= 4 + 6

    asyncio.run(main())


def test_worker_outlives_a_store_that_is_away() -> None:
    """While the store cannot be reached a worker waits longer and longer, and goes on when it is back."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there, working(there) as worker:
            outage.fail()
            await until(lambda: worker.stats().errors >= 5)
            outage.heal()
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            calls = sum(outage.calls.values())
            outage.fail()
            await asyncio.sleep(0.2)
            assert sum(outage.calls.values()) - calls < 100
            outage.heal()

    asyncio.run(main())


def test_weak_17_infrastructure_error_hands_the_job_back() -> None:
    """A job that could not be executed because a port was away is executed again soon, at no attempt's cost."""
    outage, store = flaky_store()
    scene = Scene()

    async def main() -> None:
        there_is = opened(store, services={Scene: scene}, lease=timedelta(seconds=60))
        async with there_is as there, working(there, quick(reap_interval=NEVER)) as worker:
            run_id = await create(there, HOLD)
            await scene.has_begun()
            outage.fail("commit")
            scene.go_on.set()
            # Handing it back needs a commit too, and is tried again.
            await until(lambda: worker.stats().errors >= 2)
            outage.heal()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().released == 1
            assert [one.attempt for one in await there.persistence.list_stages(run_id)] == [1, 1]
            assert "stage.released hold" in await story(there, run_id)

    asyncio.run(main())


def test_stage_that_refuses_does_not_disturb_the_slot() -> None:
    """Runs that fail one after the other leave the only slot as good as new."""

    @stage(retry=ONCE)
    async def never(number: int) -> int:
        raise NeverRetry(f"{number} is wrong")

    wrong: Flow[int, int] = workflow("wrong", input=int, version="1").pipe(never)

    async def main() -> None:
        async with opened(flows=(wrong, ONE)) as there, working(there, quick(concurrency=1)):
            for _ in range(5):
                assert await ended(there, await create(there, wrong)) == [RunStatus.FAILED]
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]

    asyncio.run(main())
