"""What a serverless host does not begin when its time is short, and what it hands back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast import Flow, RunStatus, stage, workflow
from holdfast.entities.stage import StageStatus
from holdfast_hosts.maintenance import Bounds
from holdfast_hosts.serverless import Handling, JobsProcessed, ServerlessHost
from holdfast_hosts.wiring import Opened
from tests.hosts.scenes import (
    ONCE,
    ONE,
    create,
    ended,
    flaky_store,
    opened,
)

#: Time enough for anything, and for a stage without a timeout.
AMPLE: Final = timedelta(minutes=5)


BRIEF: Final = timedelta(seconds=3)


@stage(retry=ONCE, timeout="10m")
async def slow(number: int) -> int:
    """Say that it may take ten minutes."""
    return number


@stage(retry=ONCE, timeout="1s")
async def swift(number: int) -> int:
    """Say that it takes a second at most."""
    return number


SLOW: Final[Flow[int, int]] = workflow("slow", input=int, version="1").pipe(slow)


SWIFT: Final[Flow[int, int]] = workflow("swift", input=int, version="1").pipe(swift)


SWIFT_SLOW: Final[Flow[int, int]] = workflow("swift-slow", input=int, version="1").pipe(swift).pipe(slow)


def message(run_id: str, stage_id: str = "add_one") -> dict[str, Any]:
    """Return a message as a queue brings it."""
    return {"runId": run_id, "stageId": stage_id}


async def stages(there: Opened, run_id: str) -> dict[str, tuple[StageStatus, int]]:
    """Return status and attempt of each stage instance."""
    return {one.key.stage_id: (one.status, one.attempt) for one in await there.persistence.list_stages(run_id)}


@pytest.mark.parametrize("deadline", [BRIEF, 3, 3.0])
def test_deadline_keeps_a_job_from_being_started(deadline: timedelta | float) -> None:
    """A stage without a timeout needs the declared time; with less left it is handed back at no attempt's cost."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, ONE)
            await host.run_maintenance_tick()
            handled = await host.handle_job(message(run_id), deadline=deadline)
            assert handled.outcome is Handling.HANDED_BACK
            assert "too little time" in (handled.error or "")
            assert await stages(there, run_id) == {"add_one": (StageStatus.READY, 0)}

    asyncio.run(main())


def test_timeout_of_the_stage_is_what_it_may_take() -> None:
    """A stage that says it is swift is started where another would not be."""

    async def main() -> None:
        async with opened(flows=(SWIFT, SLOW)) as there:
            host = ServerlessHost(there)
            quick, long = await create(there, SWIFT), await create(there, SLOW)
            await host.run_maintenance_tick()
            assert (await host.handle_job(message(quick, "swift"), deadline=BRIEF)).outcome is Handling.COMPLETED
            assert (await host.handle_job(message(long, "slow"), deadline=AMPLE)).outcome is Handling.HANDED_BACK
            assert (await host.handle_job(message(long, "slow"), deadline=AMPLE)).outcome is Handling.LOST

    asyncio.run(main())


def test_job_that_never_fits_is_not_in_the_way() -> None:
    """A job that may take longer than the whole invocation waits a while, so that others get their turn."""

    async def main() -> None:
        async with opened(flows=(SLOW, SWIFT)) as there:
            host = ServerlessHost(there)
            long = await create(there, SLOW, priority=9)
            quick = await create(there, SWIFT)
            await host.run_maintenance_tick()
            assert await host.process_available_jobs(max_jobs=5, deadline=AMPLE) == JobsProcessed(handed_back=1)
            assert (await host.process_available_jobs(max_jobs=5, deadline=AMPLE)).processed == 1
            assert await ended(there, quick) == [RunStatus.COMPLETED]
            assert (await stages(there, long))["slow"] == (StageStatus.READY, 0)

    asyncio.run(main())


def test_what_follows_is_handed_back_when_time_is_short() -> None:
    """A run goes on within an invocation while its next stage fits; then its job is handed back."""

    async def main() -> None:
        async with opened(flows=(SWIFT_SLOW,)) as there:
            host = ServerlessHost(there)
            run_id = await create(there, SWIFT_SLOW)
            await host.run_maintenance_tick()
            done = await host.process_available_jobs(max_jobs=5, deadline=BRIEF)
            assert done == JobsProcessed(processed=1, succeeded=1, handed_back=1)
            assert await stages(there, run_id) == {
                "swift": (StageStatus.COMPLETED, 1),
                "slow": (StageStatus.READY, 0),
            }

    asyncio.run(main())


def test_no_time_leases_nothing() -> None:
    """With no time left nothing is leased and no step of maintenance begins."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there:
            host = ServerlessHost(there, bounds=Bounds(events=0))
            await create(there, ONE)
            assert await host.process_available_jobs(deadline=0.1) == JobsProcessed()
            did = await host.run_maintenance_tick(deadline=timedelta(milliseconds=100))
            assert did.skipped_steps == ("claimPending", "pollSuspended", "reapStale", "fireDue")
            assert {"lease", "list_pending", "list_expired"}.isdisjoint(outage.calls)

    asyncio.run(main())
