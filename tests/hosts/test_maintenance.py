"""One pass of maintenance: what it counts, and that no step can keep another from being taken."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import attrs
import pytest
from structlog.testing import capture_logs

from holdfast import Flow, Retry, RunStatus, stage, workflow
from holdfast.ports.work import LeaseRequest
from holdfast_hosts.maintenance import NONE, Bounds, Maintained, maintain
from holdfast_hosts.serverless import ServerlessHost
from holdfast_hosts.wiring import Opened
from holdfast_testing.sinks import CollectingSink
from tests.hosts.scenes import (
    BATCH,
    ONE,
    RARE,
    Provider,
    add_one,
    create,
    ended,
    events,
    flaky_store,
    opened,
    status,
    story,
)

WORKER: Final = "tester"


@stage
async def dawdle() -> int:
    """Return at once; its workflow has a limit all the same."""
    return 1


LIMITED: Final[Flow[None, int]] = workflow("limited", input=None, version="1", timeout="1ms").pipe(dawdle)


TWICE: Final[Flow[int, int]] = workflow("twice", input=int, version="1").pipe(
    add_one.using(name="dawdle_twice", retry=Retry(2))
)


async def steal(there: Opened, *, ttl: timedelta) -> None:
    """Lease a job as a worker does that dies then."""
    request = LeaseRequest(worker="dead", limit=1, ttl=ttl, known=there.kernel.ports.definitions.known())
    (_,) = await there.transport.dequeue(request)


async def sweep(there: Opened, **changes: Any) -> Maintained:
    """Make one pass."""
    return await maintain(there.kernel, worker=WORKER, **changes)


def test_each_step_is_counted() -> None:
    """A pass admits, polls, takes back, fires and delivers, and tells how much of each."""
    sink, provider = CollectingSink(), Provider()

    async def main() -> None:
        flows = (ONE, BATCH, LIMITED)
        async with opened(flows=flows, services={Provider: provider}, event_sinks=(sink,)) as there:
            one, batch = await create(there, ONE), await create(there, BATCH)
            limited = await create(there, LIMITED, None)
            first = await sweep(there, bounds=Bounds(timers=0))
            assert (first.claimed, first.failed_steps, first.skipped_steps) == (3, {}, ())
            assert first.events_flushed == len(sink.events) > 0
            await asyncio.sleep(0.002)
            fired = await sweep(there)
            assert fired.timers_fired == 1
            assert await status(there, limited) is RunStatus.FAILED
            await steal(there, ttl=timedelta())
            await steal(there, ttl=timedelta())
            reaped = await sweep(there)
            assert reaped.stale_released == 2
            # The one stage had a single attempt.
            assert await status(there, one) is RunStatus.FAILED
            assert await status(there, batch) is RunStatus.RUNNING
            assert not (await sweep(there, bounds=NONE)).claimed

    asyncio.run(main())


def test_idle_pass_does_nothing() -> None:
    """A pass over a store without work is idle and says so."""

    async def main() -> None:
        async with opened() as there:
            assert await sweep(there) == Maintained()
            assert Maintained().is_idle
            assert not Maintained(claimed=1).is_idle
            assert not Maintained(failed_steps={"flush": "x"}).is_idle

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("list_pending", "claimPending"),
        ("lease", "pollSuspended"),
        ("list_expired", "reapStale"),
        ("list_due_timers", "fireDue"),
        ("lease_streams", "flush"),
    ],
)
def test_failing_step_does_not_stop_the_others(method: str, step: str) -> None:
    """An error of one step is returned under its name, and every other step is taken."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store, event_sinks=(CollectingSink(),)) as there:
            outage.fail(method)
            did = await sweep(there)
            assert list(did.failed_steps) == [step]
            assert "the test cut the line" in did.failed_steps[step]
            asked = {"list_pending", "lease", "list_expired", "list_due_timers", "lease_streams"}
            assert asked <= outage.calls.keys()

    asyncio.run(main())


def test_defect_of_one_step_is_logged_and_contained() -> None:
    """An error that nobody foresaw is logged with its traceback, returned, and keeps no other step from being taken."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there:
            await create(there, ONE)
            outage.error = ZeroDivisionError("a defect")
            outage.fail("list_expired")
            with capture_logs() as logged:
                did = await sweep(there)
            assert did.failed_steps == {"reapStale": "ZeroDivisionError: a defect"}
            assert did.claimed == 1
            assert [(line["log_level"], line["step"]) for line in logged] == [("error", "reapStale")]

    asyncio.run(main())


def test_step_with_a_bound_of_zero_is_left_out() -> None:
    """A host takes only the steps that it wants."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there:
            await sweep(there, bounds=attrs.evolve(NONE, leases=1))
            assert set(outage.calls) == {"open", "list_expired"}

    asyncio.run(main())


def test_steps_without_time_are_named() -> None:
    """A pass whose time is over begins no further step and names those it left out."""
    asked: list[bool] = []

    def has_time() -> bool:
        asked.append(len(asked) < 1)
        return asked[-1]

    async def main() -> None:
        async with opened() as there:
            run_id = await create(there, ONE)
            did = await sweep(there, has_time=has_time)
            assert did.claimed == 1
            assert did.skipped_steps == ("pollSuspended", "reapStale", "fireDue", "flush")
            assert await status(there, run_id) is RunStatus.RUNNING

    asyncio.run(main())


def test_passes_are_bounded() -> None:
    """A pass does no more of anything than its bounds say; the next does more."""

    async def main() -> None:
        async with opened() as there:
            for _ in range(5):
                await create(there, ONE)
            bounds = Bounds(claims=2)
            assert [(await sweep(there, bounds=bounds)).claimed for _ in range(4)] == [2, 2, 1, 0]

    asyncio.run(main())


def test_polls_are_bounded_and_counted() -> None:
    """Each suspended stage that is due is polled once in a pass, and no more than the bound."""
    provider = Provider()

    async def main() -> None:
        async with opened(services={Provider: provider}) as there:
            run_ids = [await create(there, BATCH) for _ in range(3)]
            await sweep(there)
            for _ in run_ids:
                await steal_and_execute(there)
            await until_due()
            did = await sweep(there, bounds=attrs.evolve(NONE, polls=2))
            assert (did.suspended_checked, provider.polls) == (2, 2)
            provider.is_done = True
            await until_due()
            assert (await sweep(there)).suspended_checked == 3

    asyncio.run(main())


async def steal_and_execute(there: Opened) -> None:
    """Execute the next job that is due."""
    assert (await ServerlessHost(there).process_available_jobs()).processed == 1


async def until_due() -> None:
    """Wait for longer than the batch stage waits between polls."""
    await asyncio.sleep(0.02)


def test_weak_02_suspended_stage_that_is_rarely_polled_is_left_alone() -> None:
    """A stage that is polled once an hour is neither reaped nor failed by any number of passes before."""

    async def main() -> None:
        async with opened(services={Provider: Provider()}, lease=timedelta(milliseconds=20)) as there:
            run_id = await create(there, RARE)
            await sweep(there)
            await steal_and_execute(there)
            for _ in range(5):
                await asyncio.sleep(0.01)
                did = await sweep(there)
                assert did.is_idle
            assert await status(there, run_id) is RunStatus.RUNNING
            assert (await story(there, run_id))[-1] == "stage.suspended rare"

    asyncio.run(main())


def test_weak_03_job_that_waits_is_never_failed() -> None:
    """A job that waits in the queue for many lease times is still READY: a busy queue is no failure."""

    async def main() -> None:
        async with opened(lease=timedelta(milliseconds=10)) as there:
            run_id = await create(there, ONE)
            assert (await sweep(there)).claimed == 1
            for _ in range(5):
                await asyncio.sleep(0.02)
                assert (await sweep(there)).is_idle
            assert (await story(there, run_id))[-1] == "stage.ready add_one"
            await steal_and_execute(there)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_weak_16_poison_job_ends_with_the_reason() -> None:
    """A job whose workers die ends FAILED when its attempts are used up, and the run says why."""

    async def main() -> None:
        async with opened(flows=(TWICE,)) as there:
            run_id = await create(there, TWICE)
            await sweep(there)
            for _ in range(2):
                await steal(there, ttl=timedelta())
                await sweep(there)
            assert await ended(there, run_id) == [RunStatus.FAILED]
            run = await there.persistence.find_run(run_id)
            assert run is not None
            assert run.failure is not None
            assert (run.failure.code, run.failure.stage_id) == ("LEASE_EXPIRED", "dawdle_twice")
            assert [event.number for event in await events(there, run_id)] == list(range(1, run.events + 1))

    asyncio.run(main())
