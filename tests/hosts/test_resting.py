"""Hosts and runs that wait, sleep or are paused: nothing of them is due, and they go on as soon as something is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast import Context, Flow, RunCreate, RunStatus, stage, workflow
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_unpause import RunUnpause
from holdfast.entities.run import Run
from holdfast.errors import WaitTimedOut
from holdfast_hosts.serverless import Handling, ServerlessHost
from holdfast_hosts.waiting import RunView, run_and_wait, wait_for_run
from holdfast_hosts.wiring import Opened
from tests.hosts.scenes import HOLD, ONCE, ONE, Scene, add_one, create, ended, opened, quick, status, until, working

NEVER: Final = timedelta(hours=1)
#: A worker that is woken by hints alone, once it has looked when it was started.
HINTS_ONLY: Final = {"poll_min": NEVER, "poll_max": NEVER, "reap_interval": NEVER, "flush_interval": NEVER}


@stage(retry=ONCE, waits={"answer": int})
async def ask(number: int, ctx: Context) -> int:
    """Wait for an answer."""
    return number + await ctx.wait_for("answer", int)


@stage(retry=ONCE, waits={"hurry": int})
async def hurry(number: int, ctx: Context) -> int:
    """Wait for an answer for a short time."""
    try:
        return await ctx.wait_for("hurry", int, timeout="30ms")
    except WaitTimedOut:
        return -number


@stage(retry=ONCE)
async def nap(number: int, ctx: Context) -> int:
    """Sleep."""
    await ctx.sleep("nap", "30ms")
    return number


ASK: Final[Flow[int, int]] = workflow("ask", input=int, version="1").pipe(ask).pipe(add_one)
HURRY: Final[Flow[int, int]] = workflow("hurry", input=int, version="1").pipe(hurry)
NAP: Final[Flow[int, int]] = workflow("nap", input=int, version="1").pipe(nap)
FLOWS: Final = (ASK, HURRY, NAP, ONE, HOLD)


async def becomes(there: Opened, run_id: str, wanted: RunStatus) -> None:
    """Wait until the run has the status."""
    async with asyncio.timeout(20):
        while await status(there, run_id) is not wanted:
            await asyncio.sleep(0.002)


def test_an_answer_wakes_the_worker() -> None:
    """A run that waits goes on as soon as it is answered in the worker's process, without any poll."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there, working(there, quick(**HINTS_ONLY)):
            run_id = await create(there, ASK)
            await becomes(there, run_id, RunStatus.WAITING)
            await there.kernel.dispatch(RunResume(run_id=run_id, name="answer", payload=40))
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


@pytest.mark.parametrize("flow", [HURRY, NAP])
def test_timers_of_waits_wake_the_worker(flow: Flow[int, int]) -> None:
    """The limit of a wait and the end of a sleep are acted on when they come, without any poll."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there, working(there, quick(**HINTS_ONLY)):
            assert await ended(there, await create(there, flow)) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_a_start_that_lies_ahead_wakes_the_worker() -> None:
    """A run that was created to start later begins when its time has come, and not before, without any poll."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there, working(there, quick(**HINTS_ONLY)):
            start = there.clock.now() + timedelta(milliseconds=60)
            run_id = await create(there, ONE, start_at=start)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            run = await there.persistence.find_run(run_id)
            assert run is not None
            assert run.started_at is not None
            assert run.started_at >= start

    asyncio.run(main())


def test_a_paused_run_lets_its_attempt_end_and_begins_nothing() -> None:
    """What executes when a run is paused may end; the next stage begins when the run is let go on."""
    scene = Scene()

    async def main() -> None:
        async with opened(flows=FLOWS, services={Scene: scene}) as there, working(there):
            run_id = await create(there, HOLD)
            await scene.has_begun()
            await there.kernel.dispatch(RunPause(run_id=run_id))
            scene.go_on.set()
            async with asyncio.timeout(20):
                while {one.status.value for one in await there.persistence.list_stages(run_id)} != {
                    "COMPLETED",
                    "READY",
                }:
                    await asyncio.sleep(0.002)
            # Others are executed meanwhile, so the worker has looked for work and left this one alone.
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
            assert await status(there, run_id) is RunStatus.PAUSED
            await there.kernel.dispatch(RunUnpause(run_id=run_id))
            assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_a_worker_drains_while_runs_wait() -> None:
    """Runs that wait hold no slot: a worker with one stops at once, and the next one goes on with them."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            async with working(there, quick(concurrency=1)) as worker:
                runs = [await create(there, ASK) for _ in range(3)]
                for run_id in runs:
                    await becomes(there, run_id, RunStatus.WAITING)
                assert worker.stats().in_flight == 0
            for run_id in runs:
                await there.kernel.dispatch(RunResume(run_id=run_id, name="answer", payload=1))
            async with working(there):
                assert await ended(there, *runs) == [RunStatus.COMPLETED] * 3

    asyncio.run(main())


def test_who_waits_for_a_run_is_told_that_it_rests() -> None:
    """While a run waits, whoever waits for its end is told, can answer, and gets the end."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            rests: list[RunStatus] = []

            async def on_rest(run: Run) -> None:
                rests.append(run.status)
                await there.kernel.dispatch(RunResume(run_id=run.id, name="answer", payload=40))

            create = RunCreate(workflow_id="ask", input=1)
            done = await run_and_wait(there, create, on_rest=on_rest, settings=quick())
            assert (done.status, done.output) == (RunStatus.COMPLETED, "42")
            assert set(rests) == {RunStatus.WAITING}

    asyncio.run(main())


def test_who_waits_for_a_run_may_leave_it_at_rest() -> None:
    """What is raised when a run is found at rest ends the waiting; the run waits on."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            found: list[str] = []

            async def on_rest(run: Run) -> None:
                found.append(run.id)
                raise LookupError

            with pytest.raises(LookupError):
                await run_and_wait(there, RunCreate(workflow_id="ask", input=1), on_rest=on_rest, settings=quick())
            assert not there.presence.has_worker
            assert await status(there, *found) is RunStatus.WAITING

    asyncio.run(main())


async def message(there: Opened, run_id: str) -> dict[str, Any]:
    """Return the message for the run's only live job."""
    (live,) = [one for one in await there.persistence.list_stages(run_id) if not one.status.is_terminal]
    key = live.key
    return {"runId": run_id, "stageId": key.stage_id, "generation": key.generation, "turn": key.turn, "item": key.item}


def test_a_function_is_called_for_a_job_that_waits() -> None:
    """A message for a job that waits does nothing; after the answer the same message goes on with it."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            host = ServerlessHost(there)
            run_id = await create(there, ASK)
            await host.run_maintenance_tick()
            first = await message(there, run_id)
            assert (await host.handle_job(first)).outcome is Handling.SUSPENDED
            assert await status(there, run_id) is RunStatus.WAITING
            again = await host.handle_job(first)
            assert (again.outcome, again.repeated) == (Handling.SUSPENDED, True)
            assert (await host.process_available_jobs(max_jobs=5)).processed == 0
            assert (await host.run_maintenance_tick()).is_idle
            await there.kernel.dispatch(RunResume(run_id=run_id, name="answer", payload=1))
            assert (await host.handle_job(first)).outcome is Handling.COMPLETED
            assert (await host.process_available_jobs(max_jobs=5)).processed == 1
            assert await status(there, run_id) is RunStatus.COMPLETED

    asyncio.run(main())


def test_a_tick_ends_sleeps_that_are_over() -> None:
    """A tick of maintenance after the end of a sleep makes its stage due, and the run goes on."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            host = ServerlessHost(there)
            run_id = await create(there, NAP)
            await host.run_maintenance_tick()
            assert (await host.process_available_jobs(max_jobs=5)).succeeded == 1
            async with asyncio.timeout(20):
                while not (await host.run_maintenance_tick()).timers_fired:
                    await asyncio.sleep(0.002)
            assert (await host.process_available_jobs(max_jobs=5)).succeeded == 1
            assert await status(there, run_id) is RunStatus.COMPLETED

    asyncio.run(main())


def test_the_turn_of_a_job_is_part_of_its_name() -> None:
    """A message for another round of a loop is not taken for one of the first."""

    async def main() -> None:
        async with opened(flows=FLOWS) as there:
            host = ServerlessHost(there)
            run_id = await create(there, ONE)
            await host.run_maintenance_tick()
            other = await message(there, run_id) | {"turn": 1}
            assert (await host.handle_job(other)).outcome is Handling.LOST
            assert (await host.handle_job(await message(there, run_id))).outcome is Handling.COMPLETED

    asyncio.run(main())


def test_views_of_a_run_are_read_less_often_the_longer_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two views the run has time to get on; the end is seen whatever that time would be."""
    monkeypatch.setattr("holdfast_hosts.waiting.VIEW_REST", 1e9)
    scene, views = Scene(), list[RunView]()

    async def main() -> None:
        async with opened(flows=FLOWS, services={Scene: scene}) as there, working(there):
            run_id = await create(there, HOLD)
            waiting = asyncio.create_task(wait_for_run(there, run_id, on_change=views.append, settings=quick()))
            await until(lambda: bool(views))
            scene.go_on.set()
            assert (await waiting).status is RunStatus.COMPLETED
            assert len(views) == 2
            assert views[-1].run.status is RunStatus.COMPLETED

    asyncio.run(main())
