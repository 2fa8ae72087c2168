"""How a slot follows one run from stage to stage, and when it lets others have their turn."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final

from holdfast import Context, Flow, RunStatus, stage, workflow
from holdfast_hosts.wiring import Opened
from tests.hosts.scenes import (
    LINE,
    ONCE,
    ONE,
    add_one,
    create,
    ended,
    flaky_store,
    opened,
    quick,
    status,
    story,
    working,
)

#: So long that nothing in a test happens by polling.
NEVER: Final = timedelta(seconds=3600)


#: A worker that is woken by hints alone, once it has looked when it was started.
HINTS_ONLY: Final = {"poll_min": NEVER, "poll_max": NEVER, "reap_interval": NEVER, "flush_interval": NEVER}


class Door:
    """Something to wait at."""

    def __init__(self) -> None:
        self.knocked = asyncio.Event()
        self.opened = asyncio.Event()
        self.knocks = 0


@stage(retry=ONCE)
async def knock(number: int, ctx: Context) -> int:
    """Wait until the test opens."""
    door = ctx.services[Door]
    door.knocked.set()
    await door.opened.wait()
    return number + 1


@stage(retry=ONCE)
async def busy(number: int) -> int:
    """Compute for two milliseconds."""
    time.sleep(0.002)
    return number


def test_linear_run_stays_with_its_slot() -> None:
    """The stages of a line are executed in a row, each leased by the commit of the one before."""
    outage, store = flaky_store()

    async def main() -> None:
        async with opened(store) as there, working(there, quick(**HINTS_ONLY)):
            run_id = await create(there, LINE)
            await ended(there, run_id)
            told = await story(there, run_id)
            assert [line for line in told if "ready" in line] == []
            # One commit creates the run, one admits it, one settles each of its three stages.
            assert outage.calls["commit"] == 5

    asyncio.run(main())


def test_long_run_lets_others_have_their_turn() -> None:
    """A run that would hold the only slot for long hands its next job back when another waits, and goes on later."""
    long: Flow[int, int] = workflow("long", input=int, version="1").pipe(knock)
    for number in range(20):
        long = long.pipe(add_one.using(name=f"s{number}"))
    door = Door()

    async def main() -> None:
        services = {Door: door}
        settings = quick(concurrency=1, chain_jobs=4)
        async with opened(flows=(long, ONE), services=services) as there, working(there, settings) as worker:
            patient = await create(there, long)
            await door.knocked.wait()
            waiting = await create(there, ONE)
            door.opened.set()
            assert await ended(there, patient, waiting) == [RunStatus.COMPLETED] * 2
            assert worker.stats().released == 1
            stages = {run_id: await there.persistence.list_stages(run_id) for run_id in (patient, waiting)}
            (short,) = stages[waiting]
            last = max(one.finished_at for one in stages[patient] if one.finished_at is not None)
            assert short.finished_at is not None
            assert short.finished_at < last
            assert all(one.attempt == 1 for one in stages[patient])

    asyncio.run(main())


def test_long_run_goes_on_while_nobody_waits() -> None:
    """A run that is alone keeps its slot to its end, however long it is."""
    long: Flow[int, int] = workflow("long", input=int, version="1").pipe(add_one)
    for number in range(20):
        long = long.pipe(add_one.using(name=f"s{number}"))

    async def main() -> None:
        async with opened(flows=(long,)) as there, working(there, quick(concurrency=1, chain_jobs=3)) as worker:
            run_id = await create(there, long)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().released == 0
            assert not [line for line in await story(there, run_id) if "ready" in line or "released" in line]

    asyncio.run(main())


def test_stages_that_never_wait_leave_the_loop_to_others() -> None:
    """A run whose stages and store never wait for anything does not keep the loop's other tasks from running."""
    long: Flow[int, int] = workflow("long", input=int, version="1").pipe(busy)
    for number in range(60):
        long = long.pipe(busy.using(name=f"s{number}"))

    async def main() -> None:
        async with opened(flows=(long,)) as there, working(there, quick(**HINTS_ONLY, concurrency=1)):
            run_id = await create(there, long)
            await until_status(there, run_id, RunStatus.RUNNING)
            turns = 0
            while await status(there, run_id) is RunStatus.RUNNING:
                turns += 1
                await asyncio.sleep(0)
            # Two milliseconds each, so at least every fifth stage is followed by a turn of the others.
            assert turns >= 10

    asyncio.run(main())


async def until_status(there: Opened, run_id: str, wanted: RunStatus) -> None:
    """Wait until the run has that status."""
    async with asyncio.timeout(20):
        while await status(there, run_id) is not wanted:
            await asyncio.sleep(0)


def test_weak_04_run_goes_on_where_a_worker_left_it() -> None:
    """Nothing is lost between the end of a stage and the begin of the next: another worker goes on with the run."""
    door = Door()
    flow: Flow[int, int] = workflow("door", input=int, version="1").pipe(knock).pipe(add_one)

    async def main() -> None:
        async with opened(flows=(flow,), services={Door: door}) as there:
            async with working(there) as worker:
                run_id = await create(there, flow)
                await door.knocked.wait()
                stopping = asyncio.create_task(worker.stop())
                await asyncio.sleep(0)
                door.opened.set()
                await stopping
            assert await status(there, run_id) is RunStatus.RUNNING
            assert await there.persistence.list_orphans(limit=1) == []
            async with working(there):
                assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert (await story(there, run_id)).count("stage.completed knock") == 1

    asyncio.run(main())
