"""Stages that misbehave in every way a body can: each is an outcome of its own run, and the worker works on."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from holdfast import Context, Flow, stage, workflow
from holdfast.entities.run import MAX_TEXT, Run, RunStatus
from holdfast_hosts.wiring import Opened
from tests.attacks.bodies import FALLING, flow, task
from tests.hosts import scenes
from tests.hosts.scenes import ONCE, create, ended, opened, quick, working

LEASE: Final = timedelta(seconds=20)


async def run_of(there: Opened, run_id: str) -> Run:
    """Return the run."""
    run = await there.persistence.find_run(run_id)
    assert run is not None
    return run


def test_no_stage_can_hurt_its_worker(store: str) -> None:
    """Whatever a body raises or returns fails its own run with a reason, and every slot executes the next job."""

    async def scenario() -> None:
        flows = [scenes.ONE, *(one for one, _ in FALLING.values())]
        async with opened(store, flows=flows, lease=LEASE) as there, working(there, quick(concurrency=2)) as worker:
            codes = {}
            for name, (attack, _) in FALLING.items():
                run_id = await create(there, attack)
                assert await ended(there, run_id) == [RunStatus.FAILED], name
                failure = (await run_of(there, run_id)).failure
                assert failure is not None
                assert failure.message, name
                assert len(failure.message) <= MAX_TEXT, name
                assert len(failure.trace or "") <= MAX_TEXT, name
                codes[name] = failure.code
            assert codes == {name: code for name, (_, code) in FALLING.items()}
            good = [await create(there, scenes.ONE) for _ in range(4)]
            assert await ended(there, *good) == [RunStatus.COMPLETED] * 4
            assert worker.stats().errors == 0

    asyncio.run(scenario())


async def cancels_itself_late(number: int) -> int:
    """Cancel its task and return before that arrives."""
    task().cancel()
    return number


async def leaves_tasks(number: int) -> int:
    """Leave a task behind that fails later."""

    async def later() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("later")

    left = asyncio.create_task(later())
    left.add_done_callback(lambda done: done.exception())
    return number


def runs_a_loop(number: int) -> int:
    """Run a loop of its own in its thread."""

    async def inner() -> int:
        return number

    return asyncio.run(inner())


def prints_nul(number: int) -> int:
    """Print NUL."""
    sys.stdout.write("\x00\x1b[2J\ud800".encode("utf-8", "backslashreplace").decode())
    return number


@pytest.mark.parametrize("attack", [flow(cancels_itself_late), flow(leaves_tasks), flow(runs_a_loop), flow(prints_nul)])
def test_what_a_stage_leaves_behind_disturbs_nobody(store: str, attack: Flow[int, Any]) -> None:
    """A stage that returned a value is complete, and what it left behind touches neither its run nor the worker."""

    async def scenario() -> None:
        flows = [attack, scenes.LINE]
        async with opened(store, flows=flows, lease=LEASE) as there, working(there, quick(concurrency=1)) as worker:
            first = [await create(there, attack) for _ in range(3)]
            assert await ended(there, *first, await create(there, scenes.LINE)) == [RunStatus.COMPLETED] * 4
            assert worker.stats().errors == 0

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be changed here")
def test_another_time_zone_changes_no_instant(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that changes the zone of the process changes no instant that is stored."""
    monkeypatch.setenv("TZ", "UTC")

    async def moves(number: int) -> int:
        os.environ["TZ"] = "Pacific/Kiritimati"
        time.tzset()
        return number

    moving = flow(moves)

    async def scenario() -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        async with opened(store, flows=[moving], lease=LEASE) as there, working(there):
            runs = [await create(there, moving) for _ in range(2)]
            assert await ended(there, *runs) == [RunStatus.COMPLETED] * 2
            told = [event.at for run_id in runs for event in await scenes.events(there, run_id)]
            assert all(before <= at <= datetime.now(UTC) + timedelta(seconds=1) for at in told)

    try:
        asyncio.run(scenario())
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_output_is_what_it_was_when_the_stage_returned(store: str) -> None:
    """A stage that changes its output after it returned it changes nothing that is stored or handed on."""
    kept: list[list[int]] = []

    async def gives(number: int) -> list[int]:
        kept.append([number])
        return kept[-1]

    async def takes(numbers: list[int], ctx: Context) -> list[int]:
        kept[-1].append(2)
        return numbers

    two = workflow("two", input=int, version="1").pipe(stage(retry=ONCE)(gives)).pipe(stage(retry=ONCE)(takes))

    async def scenario() -> None:
        async with opened(store, flows=[two], lease=LEASE) as there, working(there):
            run_id = await create(there, two)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            outputs = await there.persistence.get_outputs(run_id, ("gives", "takes"))
            assert {name: output.text for name, output in outputs.items()} == {"gives": "[1]", "takes": "[1]"}

    asyncio.run(scenario())


def test_a_cut_traceback_keeps_both_ends(store: str) -> None:
    """A traceback that is too long keeps where it began and the error that ended it."""

    async def scenario() -> None:
        attack, _ = FALLING["chained"]
        async with opened(store, flows=[attack], lease=LEASE) as there, working(there):
            run_id = await create(there, attack)
            await ended(there, run_id)
            failure = (await run_of(there, run_id)).failure
            assert failure is not None
            assert failure.trace is not None
            assert failure.trace.startswith("ValueError: first")
            assert failure.trace.rstrip().endswith("ValueError: 4999")

    asyncio.run(scenario())
