"""Child runs: a stage starts them once, gets their results without holding a worker, and they share its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    Context,
    Retry,
    RunCancel,
    RunStatus,
    stage,
    workflow,
)
from holdfast.entities.wait import WaitKind, WaitStatus
from holdfast.errors import ChildFailed
from holdfast.events import EventType
from tests.kernel.behaviour.families import (
    ADD,
    NAPPING,
    OUTDOORS,
    Weather,
    calling,
    the_child,
)
from tests.kernel.behaviour.flows import ONCE
from tests.kernel.watching import MakeHarness, WatchedHarness


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
