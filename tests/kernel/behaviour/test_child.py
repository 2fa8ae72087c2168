"""Child runs: a stage starts them once, gets their results without holding a worker, and they share its end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    Context,
    Flow,
    Retry,
    RunCancel,
    RunCreate,
    RunStatus,
    Settings,
    Stage,
    StageStatus,
    stage,
    workflow,
)
from holdfast.entities.run import Run
from holdfast.entities.wait import WaitKind, WaitStatus
from holdfast.errors import ChildFailed
from holdfast.events import EventType
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.flows import ONCE, Calls, line, step
from tests.kernel.watching import MakeHarness, WatchedHarness

ADD = line(2, id="add")
SLEEPY_NAP = timedelta(hours=1)


class Weather:
    """Whether it rains; stages fail while it does."""

    def __init__(self, *, raining: bool = False) -> None:
        self.raining = raining


@stage(retry=ONCE)
async def weathered(number: int, ctx: Context) -> int:
    """Add one in fair weather."""
    ctx.services[Calls].note(ctx)
    if ctx.services[Weather].raining:
        raise ConnectionError("it rains")
    return number + 1


@stage(retry=ONCE)
async def nap(number: int, ctx: Context) -> int:
    """Sleep for an hour, then add one."""
    await ctx.sleep("nap", SLEEPY_NAP)
    ctx.services[Calls].note(ctx)
    return number + 1


OUTDOORS = workflow("outdoors", input=int, version="1").pipe(weathered)
NAPPING = workflow("napping", input=int, version="1").pipe(nap)


def calling(child: Flow[int, int], *, id: str = "parent", retry: Retry = ONCE) -> Flow[int, int]:
    """Return a workflow whose first stage calls *child*."""

    @stage(retry=retry)
    async def call(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        return await ctx.call("helper", child, number)

    return workflow(id, input=int, version="1").pipe(call).pipe(step("after"))


@pytest.fixture
def weather() -> Weather:
    """Return the weather."""
    return Weather()


def the_child(harness: WatchedHarness, run_id: str) -> Run:
    """Return the only child of the run."""
    (child_id,) = harness.children(run_id)
    return harness.run_of(child_id)


def test_stage_gets_the_output_of_the_run_that_it_calls(make_harness: MakeHarness) -> None:
    """The child runs on its own; its parent is WAITING, holds no worker, and then goes on with the output."""
    parent = calling(ADD)
    harness = make_harness(parent, ADD)
    run_id = harness.start(parent, 1, tenant="acme", priority=9)
    harness.admit()
    harness.execute(*harness.lease())
    waiting = harness.run_of(run_id)
    assert waiting.status is RunStatus.WAITING
    assert harness.lease() == []
    (wait,) = harness.waits(run_id)
    child = the_child(harness, run_id)
    assert (wait.kind, wait.name, wait.status) == (WaitKind.CHILD, f"child:{child.id}", WaitStatus.OPEN)
    harness.drain()

    ended = harness.look(parent, run_id)
    assert ended.output == 4
    assert harness.look(ADD, child.id).output == 3
    assert (child.header.parent_id, child.header.tenant, child.header.priority) == (run_id, "acme", 9)
    told = {event.type: event.data for event in ended.events if event.key is not None and event.key.stage_id == "call"}
    assert told[EventType.STAGE_CHILD_STARTED] == {"name": "helper", "child": child.id, "workflow": "add@1"}
    assert told[EventType.STAGE_RESUMED] == {"name": wait.name, "child": child.id, "status": "COMPLETED"}
    assert harness.events(child.id)[0].data["parentId"] == run_id
    assert harness.calls.names == ["call", "s1", "s2", "call", "after"]


def test_child_that_ends_before_its_parent_asks_has_its_result_kept(make_harness: MakeHarness) -> None:
    """A result that comes while the parent does something else is there when the parent asks for it."""

    @stage(retry=ONCE)
    async def later(number: int, ctx: Context) -> int:
        child = await ctx.start("helper", ADD, number)
        await ctx.sleep("nap", "1h")
        return await ctx.result(child)

    parent = workflow("later", input=int, version="1").pipe(later)
    harness = make_harness(parent, ADD)
    run_id = harness.start(parent, 1)
    harness.drain(until=timedelta())
    assert the_child(harness, run_id).status is RunStatus.COMPLETED
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.drain()
    assert harness.look(parent, run_id).output == 3
    assert len(harness.children(run_id)) == 1


def test_failed_child_is_an_error_that_the_stage_may_catch(make_harness: MakeHarness) -> None:
    """What the stage catches tells which run it was, how it ended and why."""
    caught: list[ChildFailed] = []

    @stage(retry=ONCE)
    async def careful(number: int, ctx: Context) -> int:
        try:
            return await ctx.call("helper", OUTDOORS, number)
        except ChildFailed as error:
            caught.append(error)
            return -1

    parent = workflow("careful", input=int, version="1").pipe(careful)
    harness = make_harness(parent, OUTDOORS, services={Weather: Weather(raining=True)})
    ended = harness.run(parent, 1)
    assert ended.output == -1
    (error,) = caught
    child = the_child(harness, ended.run.id)
    assert (error.child_id, error.status, error.failure_code) == (child.id, "FAILED", "STAGE_ERROR")
    assert "it rains" in str(error)


def test_failed_child_that_nobody_catches_fails_its_parent_at_once(make_harness: MakeHarness) -> None:
    """Another attempt would hear the same, so none is made, whatever the policy."""
    parent = calling(OUTDOORS, retry=Retry(5))
    harness = make_harness(parent, OUTDOORS, services={Weather: Weather(raining=True)})
    ended = harness.run(parent, 1)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("CHILD_FAILED", "call")
    assert harness.calls.count("call") == 2
    assert harness.calls.count("weathered") == 1


def test_cancelled_child_is_told_to_its_parent(make_harness: MakeHarness) -> None:
    """Cancelling the child alone ends the wait of its parent with `ChildFailed`."""
    parent = calling(NAPPING)
    harness = make_harness(parent, NAPPING)
    run_id = harness.start(parent, 1)
    harness.drain(until=timedelta())
    harness.cancel(the_child(harness, run_id).id)
    harness.drain(until=timedelta())
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "CHILD_FAILED"
    assert "CANCELLED" in failure.message


def test_cancelling_reaches_children_and_grandchildren(make_harness: MakeHarness) -> None:
    """A cancelled run takes its children with it, and they theirs, each in commits of its own that tell why."""
    middle = calling(NAPPING, id="middle")
    top = calling(middle, id="top")
    harness = make_harness(top, middle, NAPPING)
    run_id = harness.start(top, 1)
    harness.drain(until=timedelta())
    child = the_child(harness, run_id)
    grandchild = the_child(harness, child.id)
    assert grandchild.status is RunStatus.WAITING
    harness.dispatch(RunCancel(run_id=run_id))
    harness.drain()

    for run, parent_id in ((child, run_id), (grandchild, child.id)):
        assert harness.run_of(run.id).status is RunStatus.CANCELLED
        assert harness.events(run.id)[-1].data == {"reason": f"Its parent, run {parent_id}, has ended."}
    assert harness.calls.names.count("nap") == 0


@pytest.mark.parametrize("end", ["cancel", "fail", "deadline"])
@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED])
def test_children_end_with_a_parent_that_does_not_complete(
    make_harness: MakeHarness, end: str, status: RunStatus
) -> None:
    """However the parent ends otherwise than well, and wherever the child stands, the child is cancelled."""

    @stage(retry=ONCE)
    async def begin(number: int, ctx: Context) -> int:
        await ctx.start("helper", NAPPING, number)
        if end == "fail":
            raise ConnectionError("no more")
        await ctx.sleep("forever", "30d")
        return number

    parent = workflow("begin", input=int, version="1", timeout="10m" if end == "deadline" else None).pipe(begin)
    harness = make_harness(parent, NAPPING)
    run_id = harness.start(parent, 1)
    harness.admit()
    (lease,) = harness.lease()
    if end != "fail":
        harness.execute(lease)
        child_id = _brought_to(status, harness, run_id)
    else:
        # The child exists as soon as the stage has started it; it gets further only if the parent is slow to fail.
        harness.execute(lease)
        (child_id,) = harness.children(run_id)
    if end == "cancel":
        harness.cancel(run_id)
    elif end == "deadline":
        harness.clock.advance("10m")
    harness.drain()
    assert harness.run_of(run_id).status in {RunStatus.CANCELLED, RunStatus.FAILED}
    assert harness.run_of(child_id).status is RunStatus.CANCELLED
    assert harness.calls.names == []


def _brought_to(status: RunStatus, harness: WatchedHarness, run_id: str) -> str:
    (child_id,) = harness.children(run_id)
    if status is not RunStatus.PENDING:
        harness.admit()
    if status is RunStatus.WAITING:
        harness.execute(*harness.lease())
    if status is RunStatus.PAUSED:
        harness.pause(child_id)
    assert harness.run_of(child_id).status is status
    return child_id


def test_child_goes_on_when_its_parent_completes(make_harness: MakeHarness) -> None:
    """A stage that starts a child and does not ask for its result leaves it to itself."""

    @stage
    async def begin(number: int, ctx: Context) -> str:
        return (await ctx.start("helper", NAPPING, number)).run_id

    parent = workflow("begin", input=int, version="1").pipe(begin)
    harness = make_harness(parent, NAPPING)
    ended = harness.run(parent, 1)
    assert ended.output is not None
    assert harness.look(NAPPING, ended.output).output == 2


def test_child_that_is_started_while_its_parent_ends_is_cancelled(make_harness: MakeHarness) -> None:
    """A stage whose run was cancelled under it cannot leave a child behind that nobody will ever end."""

    @stage
    async def begin(number: int, ctx: Context) -> int:
        harness.cancel(ctx.run_id)
        await ctx.start("helper", NAPPING, number)
        return number

    parent = workflow("begin", input=int, version="1").pipe(begin)
    harness = make_harness(parent, NAPPING)
    run_id = harness.start(parent, 1)
    harness.drain()
    assert the_child(harness, run_id).status is RunStatus.CANCELLED
    assert harness.calls.names == []


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
        return (await harness._look(parent, run_id)).output

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


def test_child_of_a_workflow_that_is_not_registered_is_an_error_of_the_stage(make_harness: MakeHarness) -> None:
    """The stage is told which workflow is missing, and of an input that does not fit; no child is left behind."""
    parent = calling(ADD)
    harness = make_harness(parent)
    ended = harness.run(parent, 1)
    assert ended.failure is not None
    assert '"add" version 1' in ended.failure.message
    assert ended.failure.error == "UnknownWorkflow"
    assert harness.children(ended.run.id) == ()

    @stage(retry=ONCE)
    async def wrong(number: int, ctx: Context) -> int:
        mistake: Any = "seven"
        return await ctx.call("helper", ADD, mistake)

    mistaken = workflow("wrong", input=int, version="1").pipe(wrong)
    harness.know(ADD)
    other = harness.run(mistaken, 1)
    assert other.failure is not None
    assert other.failure.error == "InvalidInput"


def test_paused_parent_hears_of_its_child_when_it_goes_on(make_harness: MakeHarness) -> None:
    """The end of a child while its parent is paused is kept, and acted on when the parent goes on."""
    parent = calling(NAPPING)
    harness = make_harness(parent, NAPPING)
    run_id = harness.start(parent, 1)
    harness.drain(until=timedelta())
    harness.pause(run_id)
    harness.drain()
    assert the_child(harness, run_id).status is RunStatus.COMPLETED
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(parent, run_id).output == 3


def test_child_is_no_run_of_a_stranger(make_harness: MakeHarness) -> None:
    """The key under which a child is found again cannot be guessed into by runs of the same workflow."""
    parent = calling(ADD)
    harness = make_harness(parent, ADD)
    first, second = harness.run(parent, 1), harness.run(parent, 1)
    assert harness.children(first.run.id) != harness.children(second.run.id)
    own = harness.dispatch(RunCreate(workflow_id="add", input=1, idempotency_key=f"{first.run.id}/call/1.0.0/other"))
    assert own.run_id not in harness.children(first.run.id)
    assert harness.stage(first.run.id, "call").status is StageStatus.COMPLETED
