"""Child runs of attempts, retries and reruns, of items and of stages that ask for several."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import (
    Context,
    Flow,
    Retry,
    RunCreate,
    RunStatus,
    Settings,
    Stage,
    StageStatus,
    stage,
    workflow,
)
from holdfast.events import EventType
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.families import (
    ADD,
    NAPPING,
    OUTDOORS,
    Weather,
    calling,
    the_child,
    weathered,
)
from tests.kernel.behaviour.flows import ONCE, Calls
from tests.kernel.watching import MakeHarness


@pytest.fixture
def weather() -> Weather:
    """Return the weather."""
    return Weather()


def test_another_attempt_finds_the_same_child(make_harness: MakeHarness) -> None:
    """A child is started once for its name, whatever happens to the stage behind it."""

    @stage(retry=Retry(3, base="1s"))
    async def shaky(number: int, ctx: Context) -> list[int]:
        first = await ctx.start("a", ADD, number)
        second = await ctx.start("b", ADD, number * 10)
        if ctx.attempt < 3 and not harness.waits(ctx.run_id):
            raise ConnectionError("shaky")
        return [await ctx.result(first), await ctx.result(second)]

    parent = workflow("shaky", input=int, version="1").pipe(shaky)
    harness = make_harness(parent, ADD)
    ended = harness.run(parent, 1)
    assert ended.output == [3, 12]
    assert len(harness.children(ended.run.id)) == 2
    assert [event.data["name"] for event in ended.events if event.type is EventType.STAGE_CHILD_STARTED] == ["a", "b"]


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(2, 9))
def test_crash_around_the_start_of_a_child_leaves_one_child(
    make_harness: MakeHarness, fault: Fault, number: int
) -> None:
    """Wherever between the start of a child and its journal the worker fails, the next attempt finds the same child."""
    # The first call of a harness opens the store.
    plan = FaultPlan({number: fault})
    parent = calling(ADD, retry=Retry(3))
    harness = make_harness(parent, ADD)
    failing = make_harness(parent, ADD, plan=plan)
    run_id = harness.start(parent, 1)
    harness.admit()
    (lease,) = harness.lease()
    try:
        failing.execute(lease)
    except (ProcessDied, Exception):  # noqa: BLE001 - whatever it was, another worker takes over
        harness.clock.advance("31s")
    harness.drain()
    assert harness.look(parent, run_id).output == 4
    assert len(harness.children(run_id)) == 1


def test_retried_run_keeps_its_child_and_the_result(make_harness: MakeHarness, weather: Weather) -> None:
    """`run.retry` of a parent that failed behind its child goes on with the same child's result."""

    @stage(retry=ONCE)
    async def call(number: int, ctx: Context) -> int:
        found = await ctx.call("helper", ADD, number)
        return await weathered(found, ctx)

    parent = workflow("parent", input=int, version="1").pipe(call)
    harness = make_harness(parent, ADD, services={Weather: weather})
    weather.raining = True
    ended = harness.run(parent, 1)
    assert ended.status is RunStatus.FAILED
    weather.raining = False
    harness.retry(ended.run.id)
    harness.drain()
    assert harness.look(parent, ended.run.id).output == 4
    assert len(harness.children(ended.run.id)) == 1
    assert harness.calls.count("s1") == 1


def test_retried_run_starts_another_child_for_one_that_was_cancelled_with_it(
    make_harness: MakeHarness, weather: Weather
) -> None:
    """A child that ended because its parent failed elsewhere is no answer; the retried parent gets one."""
    parent = (
        workflow("forked", input=int, version="1")
        .parallel(_calling_stage(NAPPING), weathered)
        .pipe(stage(name="sum")(_added))
    )
    harness = make_harness(parent, NAPPING, services={Weather: weather})
    weather.raining = True
    run_id = harness.start(parent, 1)
    harness.admit()
    for lease in sorted(harness.lease(limit=2), key=lambda one: one.key):
        harness.execute(lease)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.FAILED
    assert the_child(harness, run_id).status is RunStatus.CANCELLED
    weather.raining = False
    harness.retry(run_id)
    harness.drain()

    assert harness.look(parent, run_id).output == 4
    first, second = (harness.run_of(child_id).status for child_id in harness.children(run_id))
    assert (first, second) == (RunStatus.CANCELLED, RunStatus.COMPLETED)


def _added(parts: tuple[int, int]) -> int:
    return sum(parts)


def _calling_stage(child: Flow[int, int]) -> Stage[int, int]:
    @stage(retry=ONCE)
    async def call(number: int, ctx: Context) -> int:
        return await ctx.call("helper", child, number)

    return call


def test_retried_run_hears_of_a_child_that_ended_while_it_was_failed(
    make_harness: MakeHarness, weather: Weather
) -> None:
    """A child whose end nobody was there to hear is looked at when the retried parent asks for it."""
    parent = (
        workflow("forked", input=int, version="1")
        .parallel(_calling_stage(ADD), weathered)
        .pipe(stage(name="sum")(_added))
    )
    harness = make_harness(parent, ADD, services={Weather: weather})
    weather.raining = True
    run_id = harness.start(parent, 1)
    harness.admit()
    for lease in sorted(harness.lease(limit=2), key=lambda one: one.key):
        harness.execute(lease)
    # The child is faster than the timer that would cancel it.
    harness.admit()
    harness.work_off()
    assert the_child(harness, run_id).status is RunStatus.COMPLETED
    weather.raining = False
    harness.retry(run_id)
    harness.drain()
    assert harness.look(parent, run_id).output == 5
    assert harness.calls.count("s1") == 1


def test_parent_is_retried_after_its_child_was(make_harness: MakeHarness, weather: Weather) -> None:
    """A failed child that was retried with success is what the retried parent gets; nothing is done twice."""
    parent = calling(OUTDOORS)
    harness = make_harness(parent, OUTDOORS, services={Weather: weather})
    weather.raining = True
    ended = harness.run(parent, 1)
    child = the_child(harness, ended.run.id)
    harness.retry(ended.run.id)
    harness.drain()
    again = harness.run_of(ended.run.id).failure
    assert again is not None
    assert again.code == "CHILD_FAILED"
    assert len(harness.children(ended.run.id)) == 1

    weather.raining = False
    harness.retry(child.id)
    harness.drain()
    harness.retry(ended.run.id)
    harness.drain()
    assert harness.look(parent, ended.run.id).output == 3
    assert harness.calls.count("weathered") == 2


def test_rerun_starts_a_child_of_its_own(make_harness: MakeHarness) -> None:
    """A rerun does things again on purpose, and its children are among them."""
    parent = calling(ADD)
    harness = make_harness(parent, ADD)
    ended = harness.run(parent, 1)
    harness.rerun(ended.run.id, "call")
    harness.drain()
    assert harness.look(parent, ended.run.id).output == 4
    assert len(harness.children(ended.run.id)) == 2


def test_children_of_a_map_are_one_for_each_item(make_harness: MakeHarness) -> None:
    """Items call children under one name, and each gets its own result, in order."""
    parent = workflow("all", input=list[int], version="1").map(_calling_stage(ADD), limit=3)
    harness = make_harness(parent, ADD)
    ended = harness.run(parent, list(range(7)))
    assert ended.output == [number + 2 for number in range(7)]
    assert len(harness.children(ended.run.id)) == 7


def test_children_side_by_side_are_waited_for_together(make_harness: MakeHarness) -> None:
    """Two children that are asked for at once are both started before the stage is left."""

    @stage(retry=ONCE)
    async def both(number: int, ctx: Context) -> list[int]:
        ctx.services[Calls].note(ctx)
        return list(await asyncio.gather(ctx.call("a", ADD, number), ctx.call("b", ADD, number + 1)))

    parent = workflow("both", input=int, version="1").pipe(both)
    harness = make_harness(parent, ADD, ledger=None)

    async def play() -> object:
        run_id = await harness.astart(parent, 1)
        await harness.adrain()
        return (await harness.alook(parent, run_id)).output

    assert asyncio.run(play()) == [3, 4]
    assert harness.calls.count("s1") == 2


def test_large_result_of_a_child_goes_by_a_blob(make_harness: MakeHarness) -> None:
    """What is too large for a row reaches the parent all the same."""

    @stage
    async def swell(number: int) -> str:
        return "x" * number

    long = workflow("long", input=int, version="1").pipe(swell)

    @stage
    async def measure(number: int, ctx: Context) -> int:
        return len(await ctx.call("long", long, number))

    parent = workflow("measure", input=int, version="1").pipe(measure)
    harness = make_harness(parent, long, settings=Settings(blob_threshold=100))
    assert harness.run(parent, 5000).output == 5000


def test_child_is_no_run_of_a_stranger(make_harness: MakeHarness) -> None:
    """The key under which a child is found again cannot be guessed into by runs of the same workflow."""
    parent = calling(ADD)
    harness = make_harness(parent, ADD)
    first, second = harness.run(parent, 1), harness.run(parent, 1)
    assert harness.children(first.run.id) != harness.children(second.run.id)
    own = harness.dispatch(RunCreate(workflow_id="add", input=1, idempotency_key=f"{first.run.id}/call/1.0.0/other"))
    assert own.run_id not in harness.children(first.run.id)
    assert harness.stage(first.run.id, "call").status is StageStatus.COMPLETED
