"""The serverless host: messages, available jobs and ticks, with and without a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from holdfast import Context, Flow, Registry, RunStatus, stage, workflow
from holdfast.codec import converter
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.errors import InvalidCommand, StoreUnavailable
from holdfast.ports.job_transport import JobHint
from holdfast_adapters.transports import DatabaseTransport
from holdfast_hosts.serverless import Handling, JobsProcessed, ServerlessHost
from holdfast_hosts.settings import ServerlessSettings
from holdfast_hosts.wiring import Opened, Store, open_kernel
from holdfast_testing.sinks import CollectingSink
from tests.hosts.scenes import (
    BATCH,
    FALL,
    HOLD,
    LEASE,
    LINE,
    ONE,
    QUICK,
    Provider,
    Scene,
    add_one,
    create,
    ended,
    flaky_store,
    opened,
    status,
    story,
)


def message(run_id: str, stage_id: str = "add_one") -> dict[str, Any]:
    """Return a message as a queue brings it."""
    return {"runId": run_id, "stageId": stage_id}


async def stages(there: Opened, run_id: str) -> dict[str, tuple[StageStatus, int]]:
    """Return status and attempt of each stage instance."""
    return {one.key.stage_id: (one.status, one.attempt) for one in await there.persistence.list_stages(run_id)}


def test_parity_167_tick_and_message_complete_a_run() -> None:
    """A tick admits a run of one stage, the message for its job executes it, and the run is complete."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, ONE)
            assert (await host.run_maintenance_tick()).claimed == 1
            handled = await host.handle_job(message(run_id))
            assert (handled.outcome, handled.error, handled.repeated) == (Handling.COMPLETED, None, False)
            assert await status(there, run_id) is RunStatus.COMPLETED

    asyncio.run(main())


def test_parity_167_throwing_stage_is_a_failed_message() -> None:
    """A stage that raises gives the outcome failed with its message."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, FALL, 7)
            await host.run_maintenance_tick()
            handled = await host.handle_job(message(run_id, "fall"))
            assert (handled.outcome, handled.error) == (Handling.FAILED, "cannot take 7")
            assert await status(there, run_id) is RunStatus.FAILED

    asyncio.run(main())


def test_parity_168_tick_counts_what_it_did() -> None:
    """A tick over two new runs reports both as admitted, and the other counters."""
    sink = CollectingSink()

    async def main() -> None:
        async with opened(event_sinks=(sink,)) as there:
            await create(there, ONE)
            await create(there, ONE)
            did = await ServerlessHost(there).run_maintenance_tick()
            assert did.claimed == 2
            assert (did.suspended_checked, did.stale_released, did.timers_fired) == (0, 0, 0)
            assert did.events_flushed == len(sink.events) == 6
            assert did.failed_steps == {}

    asyncio.run(main())


def test_parity_170_tick_resumes_a_suspended_stage() -> None:
    """A tick polls a suspended stage that is due; when it is done the run goes on in the same commit."""
    provider = Provider()

    async def main() -> None:
        async with opened(services={Provider: provider}) as there:
            host = ServerlessHost(there)
            run_id = await create(there, BATCH)
            await host.run_maintenance_tick()
            assert (await host.handle_job(message(run_id, "batch"))).outcome is Handling.SUSPENDED
            provider.is_done = True
            await asyncio.sleep(0.02)
            assert (await host.run_maintenance_tick()).suspended_checked == 1
            assert await stages(there, run_id) == {
                "batch": (StageStatus.COMPLETED, 1),
                "add_one": (StageStatus.READY, 0),
            }

    asyncio.run(main())


def test_suspended_jobs_count_as_succeeded() -> None:
    """Available jobs are counted; one that suspends has succeeded, one that fails has not."""

    async def main() -> None:
        async with opened(services={Provider: Provider()}) as there:
            host = ServerlessHost(there)
            for flow in (ONE, BATCH, FALL):
                await create(there, flow)
            await host.run_maintenance_tick()
            assert await host.process_available_jobs(max_jobs=3) == JobsProcessed(processed=3, succeeded=2, failed=1)

    asyncio.run(main())


def test_one_job_at_a_time_by_default() -> None:
    """Without a number one job is processed, and what follows from it is left to the next invocation."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, LINE)
            await host.run_maintenance_tick()
            assert await host.process_available_jobs() == JobsProcessed(processed=1, succeeded=1)
            assert (await stages(there, run_id))["second"] == (StageStatus.READY, 0)
            assert await host.process_available_jobs(max_jobs=10) == JobsProcessed(processed=2, succeeded=2)
            assert await host.process_available_jobs() == JobsProcessed()
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_jobs_of_a_run_are_executed_in_a_row() -> None:
    """With several jobs allowed a line goes on under the lease of the commit before, and the last one keeps nothing."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, LINE)
            await host.run_maintenance_tick()
            assert (await host.process_available_jobs(max_jobs=2)).processed == 2
            told = await story(there, run_id)
            assert told[-1] == "stage.ready third"
            assert "stage.ready second" not in told
            assert "stage.released third" not in told

    asyncio.run(main())


def test_weak_53_hints_are_the_messages() -> None:
    """A queue that carries the transport's hints to invocations drives a run to its end; each message names its job."""
    queued: list[JobHint] = []

    class Queue(DatabaseTransport):
        async def enqueue(self, hints: Sequence[JobHint]) -> None:
            """Keep the hints as a queue would."""
            queued.extend(hints)

    async def main() -> None:
        async with opened() as there:
            queue = Queue(there.persistence)
            await drive(there, queue)

    async def drive(there: Opened, queue: Queue) -> None:
        kernel = there.kernel
        kernel.ports = attrs.evolve(kernel.ports, job_transport=queue)
        host = ServerlessHost(attrs.evolve(there, transport=queue))
        run_id = await create(there, LINE)
        await host.run_maintenance_tick()
        while queued:
            wire = converter.unstructure(queued.pop(0))
            assert (await host.handle_job(wire)).outcome is Handling.COMPLETED
        assert await status(there, run_id) is RunStatus.COMPLETED

    asyncio.run(main())


def test_repeated_message_repeats_nothing() -> None:
    """A message that comes again returns what became of its job, and the stage is not executed again."""

    async def main() -> None:
        async with opened() as there:
            host = ServerlessHost(there)
            run_id = await create(there, ONE)
            await host.run_maintenance_tick()
            hint = JobHint(key=StageKey(run_id=run_id, stage_id="add_one"), queue="default")
            first, second = await host.handle_job(hint), await host.handle_job(hint.key)
            assert (first.outcome, first.repeated) == (Handling.COMPLETED, False)
            assert (second.outcome, second.repeated) == (Handling.COMPLETED, True)
            assert (await story(there, run_id)).count("stage.started add_one") == 1

    asyncio.run(main())


def test_message_for_a_job_that_somebody_executes_does_nothing() -> None:
    """Of two messages for one job that are handled at once, one executes it and the other does nothing."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there:
            host, other = ServerlessHost(there), ServerlessHost(there)
            run_id = await create(there, HOLD)
            await host.run_maintenance_tick()
            first = asyncio.create_task(host.handle_job(message(run_id, "hold")))
            await scene.has_begun()
            assert (await other.handle_job(message(run_id, "hold"))).outcome is Handling.LOST
            scene.go_on.set()
            assert (await first).outcome is Handling.COMPLETED

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong", [{}, {"runId": 1, "stageId": "x"}, {"key": "x"}, {"runId": "r"}, {"key": {"runId": "r", "item": "x"}}]
)
def test_message_that_names_no_job_is_refused(wrong: dict[str, Any]) -> None:
    """A message without the fields that name a job is refused as such."""

    async def main() -> None:
        async with opened() as there:
            with pytest.raises(InvalidCommand, match="job message"):
                await ServerlessHost(there).handle_job(wrong)

    asyncio.run(main())


def test_job_of_an_unknown_workflow_is_left_to_others() -> None:
    """A message for a workflow that this function does not have is refused, and its job stays as it was."""

    async def main() -> None:
        async with opened() as there:
            run_id = await create(there, LINE)
            await ServerlessHost(there).run_maintenance_tick()
            store = Store(persistence=there.persistence, blob_store=there.blob_store)
            async with open_kernel(store, registry=Registry([ONE])) as lacking:
                handled = await ServerlessHost(lacking).handle_job(message(run_id), deadline=300)
                assert handled.outcome is Handling.REFUSED
                assert "No workflow" in (handled.error or "")
                assert await ServerlessHost(lacking).process_available_jobs() == JobsProcessed()
                assert await stages(lacking, run_id) == {"add_one": (StageStatus.READY, 0)}

    asyncio.run(main())


def test_long_job_keeps_its_lease() -> None:
    """A message whose stage takes several lease times is executed under one lease, as by a worker."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there:
            host = ServerlessHost(there, settings=ServerlessSettings(heartbeat=QUICK))
            run_id = await create(there, HOLD)
            await host.run_maintenance_tick()
            task = asyncio.create_task(host.handle_job(message(run_id, "hold")))
            await scene.has_begun()
            await asyncio.sleep(2 * LEASE.total_seconds())
            assert (await host.run_maintenance_tick()).stale_released == 0
            scene.go_on.set()
            assert (await task).outcome is Handling.COMPLETED

    asyncio.run(main())


def test_cancelled_invocation_hands_its_job_back() -> None:
    """An invocation that is cancelled hands its job back before it ends, at no attempt's cost."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}, lease=timedelta(seconds=60)) as there:
            host = ServerlessHost(there)
            run_id = await create(there, HOLD)
            await host.run_maintenance_tick()
            task = asyncio.create_task(host.process_available_jobs())
            await scene.has_begun()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert scene.notes == ["interrupted"]
            assert await stages(there, run_id) == {"hold": (StageStatus.READY, 0)}

    asyncio.run(main())


def test_port_that_is_away_hands_the_job_back() -> None:
    """A job that could not be committed because the store was away is handed back, and the caller is told."""
    outage, store = flaky_store()
    scene = Scene()

    async def main() -> None:
        async with opened(store, services={Scene: scene}) as there:
            host = ServerlessHost(there)
            run_id = await create(there, HOLD)
            await host.run_maintenance_tick()
            task = asyncio.create_task(host.process_available_jobs(max_jobs=5))
            await scene.has_begun()
            outage.fail("commit")
            scene.go_on.set()
            done = await task
            assert (done.processed, done.handed_back) == (0, 1)
            assert "the test cut the line" in (done.error or "")
            assert await status(there, run_id) is RunStatus.RUNNING
            outage.fail()
            with pytest.raises(StoreUnavailable):
                await host.process_available_jobs()
            with pytest.raises(StoreUnavailable):
                await host.handle_job(message(run_id, "hold"))

    asyncio.run(main())


def test_failing_attempt_with_tries_left_is_told_as_retrying() -> None:
    """A failed attempt that will be repeated says so, with its message and the delay."""

    @stage
    async def flaky(number: int, ctx: Context) -> int:
        raise ConnectionError("not now")

    flow: Flow[int, int] = workflow("flaky", input=int, version="1").pipe(flaky).pipe(add_one)

    async def main() -> None:
        async with opened(flows=(flow,)) as there:
            host = ServerlessHost(there)
            run_id = await create(there, flow)
            await host.run_maintenance_tick()
            handled = await host.handle_job(message(run_id, "flaky"))
            assert (handled.outcome, handled.error) == (Handling.RETRYING, "not now")
            assert handled.delay is not None
            assert handled.delay > timedelta()

    asyncio.run(main())
