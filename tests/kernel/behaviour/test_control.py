"""Run control: runs start later, are held back and let go on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast import (
    Context,
    RunCreate,
    RunPause,
    RunStatus,
    RunUnpause,
    StageStatus,
    run_sync,
    stage,
    workflow,
)
from holdfast.commands.run_resume import RunResume
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.errors import IdempotencyMismatch, IllegalTransition, InvalidInput, RunNotFound
from tests.kernel.behaviour.flows import ONCE, diamond, flaky, line, step
from tests.kernel.watching import MakeHarness, WatchedHarness


def pause(harness: WatchedHarness, run_id: str, **more: Any) -> Any:
    """Pause the run."""
    return harness.dispatch(RunPause(run_id=run_id, **more))


def test_paused_run_begins_nothing_and_goes_on_where_it_was(make_harness: MakeHarness) -> None:
    """What executes may end; what follows from it is READY but leased to nobody until the run goes on."""
    flow = line(3)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    told = pause(harness, run_id, reason="audit")
    assert (told.paused, told.status) == (True, RunStatus.PAUSED)
    assert harness.execute(lease).outcome.value == "completed"
    assert harness.statuses(run_id) == {"s1": StageStatus.COMPLETED, "s2": StageStatus.READY}
    assert harness.lease() == []
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.events(run_id)[-3].data == {"reason": "audit"}

    let = harness.unpause(run_id)
    assert (let.unpaused, let.status) == (True, RunStatus.RUNNING)
    harness.drain()
    assert harness.look(flow, run_id).output == 4
    assert harness.calls.names == ["s1", "s2", "s3"]


def test_worker_that_would_go_on_does_not_when_its_run_is_paused(make_harness: MakeHarness) -> None:
    """A worker that asks for the next job together with its commit does not get that of a paused run."""

    @stage
    async def first(number: int, ctx: Context) -> int:
        harness.pause(ctx.run_id)
        return number

    flow = workflow("sticky", input=int, version="1").pipe(first).pipe(step("s2"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.statuses(run_id)["s2"] is StageStatus.READY
    assert harness.calls.names == []
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 2


def test_pausing_twice_or_what_is_over_is_told(make_harness: MakeHarness) -> None:
    """A second pause or unpause makes no difference and says so; an ended, pending or unknown run is an error."""
    flow = line(2)
    harness = make_harness(flow)
    pending = harness.start(flow, 1)
    with pytest.raises(IllegalTransition, match="RUNNING or WAITING"):
        pause(harness, pending)
    harness.admit()
    assert harness.unpause(pending).unpaused is False
    assert pause(harness, pending).paused is True
    events = len(harness.events(pending))
    assert pause(harness, pending).paused is False
    assert len(harness.events(pending)) == events
    harness.unpause(pending)
    harness.drain()
    for command in (RunPause(run_id=pending), RunUnpause(run_id=pending)):
        with pytest.raises(IllegalTransition):
            harness.dispatch(command)
    for command in (RunPause(run_id="nobody"), RunUnpause(run_id="nobody")):
        with pytest.raises(RunNotFound):
            harness.dispatch(command)


def test_pause_is_answered_once_under_its_operation_id(make_harness: MakeHarness) -> None:
    """The same operation gives its first answer, also when the run has gone on since; another request is refused."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    first = pause(harness, run_id, operation_id="op-1")
    harness.unpause(run_id)
    assert pause(harness, run_id, operation_id="op-1") == first
    assert harness.run_of(run_id).status is RunStatus.RUNNING
    with pytest.raises(IdempotencyMismatch):
        pause(harness, run_id, operation_id="op-1", reason="another")


def test_retry_that_becomes_due_while_paused_waits(make_harness: MakeHarness) -> None:
    """The delay of a retry goes on during a pause; the attempt begins when the run goes on, and not before its time."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("s1", failures=1))
    harness = make_harness(flow)
    for before in ("1h", "2s"):
        run_id = harness.start(flow, 1)
        harness.admit()
        harness.execute(*harness.lease())
        harness.pause(run_id)
        harness.clock.advance(before)
        assert harness.lease() == []
        harness.unpause(run_id)
        assert len(harness.lease()) == (before == "1h")
        harness.clock.advance("31s")
        harness.drain()
        assert harness.look(flow, run_id).output == 2


def test_timers_that_become_due_while_paused_act_when_it_goes_on(make_harness: MakeHarness) -> None:
    """A sleep ends and a payload is taken during the pause, but the stage is called only when the run goes on."""

    @stage(waits={"go": bool}, retry=ONCE)
    async def wait(number: int, ctx: Context) -> int:
        await ctx.sleep("nap", "1h")
        harness.calls.names.append("woken")
        await ctx.wait_for("go", bool)
        return number

    flow = workflow("napping", input=int, version="1").pipe(wait)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.pause(run_id)
    harness.clock.advance("2h")
    assert harness.dispatch(TimerFireDue()).fired == 1
    harness.dispatch(RunResume(run_id=run_id, name="go", payload=True))
    harness.drain()
    assert harness.calls.names == []
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.stage(run_id, "wait").status is StageStatus.READY
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 1
    assert harness.calls.names == ["woken", "woken"]


def test_waiting_run_is_waiting_again_after_its_pause(make_harness: MakeHarness) -> None:
    """Unpausing a run of which nothing can go on leaves it WAITING."""
    flow = workflow("patient", input=int, version="1").wait_for("go", bool)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.pause(run_id)
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    harness.unpause(run_id)
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.resume(run_id, "go", True)
    harness.drain()
    assert harness.look(flow, run_id).output == (1, True)


def test_deadline_is_not_held_back(make_harness: MakeHarness) -> None:
    """A paused run still ends at its deadline."""
    flow = workflow("hasty", input=int, version="1", timeout="1h").pipe(step("s1"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.pause(run_id)
    harness.drain()
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "RUN_TIMEOUT"


def test_branches_that_end_during_a_pause_meet_all_the_same(make_harness: MakeHarness) -> None:
    """Two branches that were under way end while the run is paused; what follows from both begins after it."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    leases = harness.lease(limit=2)
    harness.pause(run_id)
    for lease in leases:
        harness.execute(lease)
    assert harness.statuses(run_id)["total"] is StageStatus.READY
    assert harness.lease() == []
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 6


def test_paused_run_can_be_cancelled_and_may_fail(make_harness: MakeHarness) -> None:
    """Cancelling a paused run, or the failure of what executes, ends it as it would otherwise."""
    flow = diamond(left=flaky("left", failures=1, retry=ONCE))
    harness = make_harness(flow)
    cancelled, failed = harness.start(flow, 1), harness.start(flow, 1)
    harness.admit()
    for lease in harness.lease(limit=2):
        harness.execute(lease)
    leases = harness.lease(limit=4)
    harness.pause(cancelled)
    harness.pause(failed)
    assert harness.cancel(cancelled).cancelled
    for lease in leases:
        harness.execute(lease)
    assert harness.run_of(cancelled).status is RunStatus.CANCELLED
    assert harness.run_of(failed).status is RunStatus.FAILED
    assert run_sync(harness.persistence.next_due()) is None


def test_run_starts_at_its_instant_and_not_before(make_harness: MakeHarness) -> None:
    """A run with `start_at` is PENDING, is admitted by nobody before its instant, and begins then."""
    flow = line(1)
    harness = make_harness(flow)
    at = harness.clock.now() + timedelta(days=2)
    run_id = harness.start(flow, 1, start_at=at)
    assert harness.admit().leases == ()
    harness.clock.advance(timedelta(days=2, microseconds=-1))
    harness.drain(until=timedelta())
    assert harness.run_of(run_id).status is RunStatus.PENDING
    assert harness.calls.names == []
    harness.drain()

    ended = harness.look(flow, run_id)
    assert ended.output == 2
    assert ended.run.started_at == at
    assert ended.story[:3] == ("run.created", "run.due", "run.started")
    assert ended.events[0].data["startInSeconds"] == 172_800


def test_start_in_the_past_is_a_start_now(make_harness: MakeHarness) -> None:
    """An instant that lies behind lets the run begin at once; one without a zone, or in ages, is refused."""
    flow = line(1)
    harness = make_harness(flow)
    now = harness.clock.now()
    assert harness.run(flow, 1, start_at=now - timedelta(days=1)).output == 2
    for wrong in (now.replace(tzinfo=None), datetime.max.replace(tzinfo=now.tzinfo)):
        with pytest.raises(InvalidInput, match="start_at"):
            harness.start(flow, 1, start_at=wrong)


def test_same_key_with_the_same_start_is_the_same_run(make_harness: MakeHarness) -> None:
    """The start is a part of the request: repeated later it gives the same run, with another start it is refused."""
    flow = line(1)
    harness = make_harness(flow)
    at = harness.clock.now() + timedelta(hours=1)
    first = harness.start(flow, 1, start_at=at, idempotency_key="k")
    harness.clock.advance("30m")
    assert harness.start(flow, 1, start_at=at, idempotency_key="k") == first
    for other in (at + timedelta(hours=1), None):
        with pytest.raises(IdempotencyMismatch):
            harness.start(flow, 1, start_at=other, idempotency_key="k")
    harness.drain()
    assert harness.start(flow, 1, start_at=at, idempotency_key="k") == first
    assert harness.calls.names == ["s1"]


def test_run_that_is_cancelled_before_its_start_never_begins(make_harness: MakeHarness) -> None:
    """Cancelling takes the timer away; at the instant nothing happens."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1, start_at=harness.clock.now() + timedelta(hours=1))
    assert harness.cancel(run_id).status is RunStatus.CANCELLED
    assert run_sync(harness.persistence.next_due()) is None
    harness.clock.advance("2h")
    harness.drain()
    assert harness.kinds(run_id) == ["run.created", "run.cancelled"]


def test_created_run_says_when_it_starts_on_the_wire(make_harness: MakeHarness) -> None:
    """The instant crosses the wire as text, and the run starts then."""
    flow = line(1)
    harness = make_harness(flow)
    at = (harness.clock.now() + timedelta(hours=1)).isoformat()
    message = {"type": RunCreate.type, "workflowId": "line", "input": 1, "startAt": at}
    created = run_sync(harness.kernel.dispatch_json(message))
    assert harness.admit().leases == ()
    harness.drain()
    assert harness.look(flow, created["runId"]).output == 2
