"""Waiting for runs: with a worker that is there, with one that is started for it, and how waiting ends otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast import Flow, RunCancel, RunCreate, RunStatus, workflow
from holdfast.errors import InvalidInput, RunNotFound
from holdfast_hosts.waiting import RunEnded, RunGoesOn, RunView, run_and_wait, wait_for_run
from holdfast_hosts.wiring import Opened
from tests.hosts.scenes import (
    FALL,
    HOLD,
    LINE,
    ONE,
    PATIENCE,
    Scene,
    add_one,
    create,
    flaky_store,
    opened,
    quick,
    status,
    working,
)

PAIR: Final[Flow[int, tuple[int, int]]] = workflow("pair", input=int, version="1").parallel(
    add_one, add_one.using(name="other")
)


def run_of(flow: Flow[Any, Any], number: int = 1) -> RunCreate:
    """Return the command that creates a run."""
    return RunCreate(workflow_id=flow.id, input=number)


@asynccontextmanager
async def waiting(there: Opened, **fields: Any) -> AsyncGenerator[asyncio.Task[RunEnded]]:
    """Wait for a run in a task of its own."""
    task = asyncio.create_task(run_and_wait(there, run_of(HOLD), settings=quick(), **fields))
    try:
        yield task
    finally:
        task.cancel()


def test_parity_165_completed_run_is_returned_with_everything() -> None:
    """A run that completes is returned with its status, output, stages and duration; the worker was started for it."""

    async def main() -> None:
        async with opened() as there:
            ended = await run_and_wait(there, run_of(LINE), settings=quick())
            assert (ended.status, ended.output, ended.failure) == (RunStatus.COMPLETED, "4", None)
            assert [stage.key.stage_id for stage in ended.stages] == ["add_one", "second", "third"]
            assert ended.duration is not None
            assert ended.duration >= timedelta()
            assert await status(there, ended.run_id) is RunStatus.COMPLETED
            assert not there.presence.has_worker
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_parity_165_failed_run_is_returned_with_its_failure() -> None:
    """A run that fails is a result like any other, with the reason and without an output."""

    async def main() -> None:
        async with opened() as there:
            ended = await run_and_wait(there, run_of(FALL, 7), settings=quick())
            assert (ended.status, ended.output) == (RunStatus.FAILED, None)
            assert ended.failure is not None
            assert ended.failure.message == "cannot take 7"

    asyncio.run(main())


def test_output_of_a_group_is_a_list() -> None:
    """A run that ends in parallel stages gives their outputs in definition order."""

    async def main() -> None:
        async with opened(flows=(PAIR,)) as there:
            assert (await run_and_wait(there, run_of(PAIR), settings=quick())).output == "[2,2]"

    asyncio.run(main())


def test_parity_165_worker_that_runs_is_used_and_left_alone() -> None:
    """A worker that runs already executes the run and runs on; no other is started."""

    async def main() -> None:
        async with opened() as there, working(there) as worker:
            tasks = len(asyncio.all_tasks())
            assert (await run_and_wait(there, run_of(LINE))).status is RunStatus.COMPLETED
            assert worker.is_running
            assert len(asyncio.all_tasks()) <= tasks
            assert sum(worker.stats().jobs_processed.values()) == 3

    asyncio.run(main())


def test_parity_165_worker_is_stopped_when_looking_fails() -> None:
    """The worker that was started for a run is stopped also when the run cannot be looked at."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there:
            outage.fail("find_run")
            with pytest.raises(Exception, match="the test cut the line"):
                await run_and_wait(there, run_of(LINE), settings=quick())
            assert not there.presence.has_worker
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_parity_166_cancelled_wait_stops_its_worker() -> None:
    """A wait that is cancelled raises, stops the worker it started at once, and the run's job is handed back."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there:
            async with waiting(there) as task:
                await scene.has_begun()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    async with asyncio.timeout(PATIENCE / 2):
                        await task
            assert scene.notes == ["interrupted"]
            assert not there.presence.has_worker
            count = await there.persistence.count()
            assert (count.leased, count.ready) == (0, 1)

    asyncio.run(main())


def test_parity_166_each_change_is_shown_once() -> None:
    """The view is called once for each change that is seen, in order, the last one included."""
    scene = Scene()
    seen: list[RunView] = []

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, waiting(there, on_change=seen.append) as task:
            await scene.has_begun()
            await asyncio.sleep(0.1)
            calm = len(seen)
            await asyncio.sleep(0.1)
            assert len(seen) == calm
            scene.go_on.set()
            await task

    asyncio.run(main())
    versions = [view.run.version for view in seen]
    assert versions == sorted(set(versions))
    assert [view.run.status for view in seen][-1] is RunStatus.COMPLETED
    assert "RUNNING" in {stage.status.value for view in seen for stage in view.stages}


def test_view_that_raises_ends_the_wait() -> None:
    """An error of the caller's own view is the caller's, and the worker is stopped."""

    def broken(_: RunView) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with opened() as there:
            with pytest.raises(ZeroDivisionError):
                await run_and_wait(there, run_of(LINE), on_change=broken, settings=quick())
            assert not there.presence.has_worker

    asyncio.run(main())


def test_wait_that_takes_too_long_names_the_run() -> None:
    """A wait that runs out of time says so with the run's id; the run is not touched."""
    scene = Scene()

    async def main() -> None:
        async with opened(services={Scene: scene}) as there, working(there):
            with pytest.raises(RunGoesOn) as caught:
                await run_and_wait(there, run_of(HOLD), timeout=timedelta(milliseconds=50))
            assert await status(there, caught.value.run_id) is RunStatus.RUNNING
            scene.go_on.set()
            assert (await wait_for_run(there, caught.value.run_id)).status is RunStatus.COMPLETED

    asyncio.run(main())


def test_run_that_cannot_be_created_starts_no_worker() -> None:
    """A run that is refused is refused at once."""

    async def main() -> None:
        async with opened() as there:
            with pytest.raises(InvalidInput):
                await run_and_wait(there, RunCreate(workflow_id="one", input="x"))
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_waiting_for_nothing_is_refused() -> None:
    """A run that does not exist cannot be waited for."""

    async def main() -> None:
        async with opened() as there:
            with pytest.raises(RunNotFound):
                await wait_for_run(there, "nothing")

    asyncio.run(main())


def test_runs_that_others_end_are_seen_to_end() -> None:
    """A run that ends without a worker of this process, here by being cancelled, is seen to end by looking."""

    async def main() -> None:
        async with opened() as there:
            run_id = await create(there, ONE)
            task = asyncio.create_task(wait_for_run(there, run_id))
            await asyncio.sleep(0.05)
            await there.kernel.dispatch(RunCancel(run_id=run_id))
            ended = await task
            assert (ended.status, ended.output, ended.duration) == (RunStatus.CANCELLED, None, None)

    asyncio.run(main())


def test_wait_is_woken_by_the_worker() -> None:
    """With a worker in the process nobody looks again until something happened: a wait costs few reads."""
    scene, (outage, store) = Scene(), flaky_store()
    never = timedelta(seconds=3600)

    async def main() -> None:
        async with opened(store, services={Scene: scene}) as there, working(there):
            run_id = await create(there, HOLD)
            await scene.has_begun()
            task = asyncio.create_task(wait_for_run(there, run_id, settings=quick(poll_min=never, poll_max=never)))
            await asyncio.sleep(0.05)
            assert outage.calls["find_run"] == 1
            scene.go_on.set()
            async with asyncio.timeout(PATIENCE):
                assert (await task).status is RunStatus.COMPLETED
            assert outage.calls["find_run"] <= 3

    asyncio.run(main())


def test_many_wait_for_one_run() -> None:
    """Any number of waits for one run end with it, and leave nothing behind."""

    async def main() -> None:
        async with opened() as there, working(there):
            run_id = await create(there, LINE)
            ended = await asyncio.gather(*(wait_for_run(there, run_id) for _ in range(5)))
            assert {one.output for one in ended} == {"4"}
            with there.presence.waiting(run_id) as waiter:
                there.presence.tell("another", is_at_rest=True)
                assert not waiter.moved.is_set()

    asyncio.run(main())
