"""Compensation: what completed stages did is undone, the latest first, when a run fails or is cancelled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import NeverRetry, RunStatus, StageStatus, run_sync, stage
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_resume import RunResume
from holdfast.errors import IllegalTransition
from holdfast.events import EventType
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.flows import ONCE
from tests.kernel.behaviour.sagas import TRIP, World, deed, line
from tests.kernel.watching import MakeHarness, WatchedHarness


@pytest.fixture
def world() -> World:
    """Return the world."""
    return World()


def test_completed_stages_are_undone_in_reverse_when_the_run_fails(make_harness: MakeHarness, world: World) -> None:
    """The latest is undone first, with its own output; what failed or never began is not undone."""
    world.failing["car"] = 1
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("STAGE_ERROR", "car")
    assert world.done == ["flight", "hotel", "undo hotel 3", "undo flight 2"]
    assert ended.story[-8:] == (
        "stage.failed car",
        "run.compensating",
        "stage.ready ~undo",
        "stage.started ~undo",
        "stage.compensated hotel",
        "stage.compensated flight",
        "stage.completed ~undo",
        "run.failed",
    )
    (undoing,) = [event.data for event in ended.events if event.type is EventType.RUN_COMPENSATING]
    assert undoing["because"] == "failed"
    assert undoing["stage"] == "car"


def test_completed_run_is_not_undone(make_harness: MakeHarness, world: World) -> None:
    """A run that ends well is COMPLETED at once, and nothing is undone."""
    ended = make_harness(TRIP, services={World: world}).run(TRIP, 1)
    assert ended.status is RunStatus.COMPLETED
    assert world.done == ["flight", "hotel", "car", "bang"]
    assert all(one.key.stage_id != "~undo" for one in ended.stages)


def test_cancelled_run_is_undone_and_then_cancelled(make_harness: MakeHarness, world: World) -> None:
    """Cancelling begins to undo; the run is COMPENSATING meanwhile, and CANCELLED in the end, without a failure."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    (executing,) = harness.lease()
    result = harness.cancel(run_id, reason="rain")
    assert (result.cancelled, result.status) == (True, RunStatus.COMPENSATING)
    assert harness.statuses(run_id)["hotel"] is StageStatus.CANCELLED
    assert harness.execute(executing).outcome.value == "lost"
    again = harness.cancel(run_id)
    assert (again.cancelled, again.status) == (False, RunStatus.COMPENSATING)
    with pytest.raises(IllegalTransition):
        harness.pause(run_id)
    harness.drain()

    ended = harness.look(TRIP, run_id)
    assert (ended.status, ended.failure) == (RunStatus.CANCELLED, None)
    # What the worker that lost its lease did to the world is not known to the store; the key can tell its service.
    assert world.done == ["flight", "hotel", "undo flight 2"]


def test_pending_run_is_cancelled_without_more_ado(make_harness: MakeHarness, world: World) -> None:
    """Nothing was done, so nothing is undone."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    assert harness.cancel(run_id).status is RunStatus.CANCELLED
    harness.drain()
    assert world.done == []


def test_waiting_run_that_is_cancelled_is_undone(make_harness: MakeHarness, world: World) -> None:
    """Its wait is closed, a payload is refused from then on, and what was done before is undone."""
    flow = line(deed("flight")).wait_for("go", bool)
    harness = make_harness(flow, services={World: world})
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.cancel(run_id)
    with pytest.raises(IllegalTransition):
        harness.dispatch(RunResume(run_id=run_id, name="go", payload=True))
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.CANCELLED
    assert world.done == ["flight", "undo flight 2"]


def test_deadline_of_the_run_is_a_failure_like_others(make_harness: MakeHarness, world: World) -> None:
    """A run that takes too long is undone and ends with RUN_TIMEOUT; undoing itself has no deadline."""
    flow = line(deed("flight"), timeout="1h").wait_for("go", bool)
    world.failing["undo flight 2"] = 3
    harness = make_harness(flow, services={World: world})
    ended = harness.run(flow, 1)
    assert ended.failure is not None
    assert ended.failure.code == "RUN_TIMEOUT"
    assert world.done == ["flight", "undo flight 2"]


def test_undoing_is_patient(make_harness: MakeHarness, world: World) -> None:
    """A compensation that fails is tried again with growing delays, and what was undone before it is not repeated."""
    world.failing |= {"bang": 1, "undo hotel 3": 5}
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)
    assert world.done == ["flight", "hotel", "car", "undo car 4", "undo hotel 3", "undo flight 2"]
    assert ended.attempts("~undo") == 6
    assert ended.failure is not None
    assert ended.failure.stage_id == "bang"


def test_exhausted_compensation_says_so_and_goes_on_when_retried(make_harness: MakeHarness, world: World) -> None:
    """The run is FAILED with COMPENSATION_FAILED; `run.retry` undoes what is left and gives the first failure back."""
    world.failing |= {"bang": 1, "undo hotel 3": 20}
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("COMPENSATION_FAILED", "~undo")
    assert "undo hotel 3 broke off" in ended.failure.message
    assert harness.stage(ended.run.id, "~undo").status is StageStatus.FAILED
    assert run_sync(harness.persistence.next_due()) is None

    assert harness.retry(ended.run.id).retried == ("~undo",)
    assert harness.run_of(ended.run.id).status is RunStatus.COMPENSATING
    harness.drain()
    again = harness.look(TRIP, ended.run.id)
    assert again.status is RunStatus.FAILED
    assert again.failure is not None
    assert (again.failure.code, again.failure.stage_id) == ("STAGE_ERROR", "bang")
    assert "bang broke off" in again.failure.message
    assert world.done == ["flight", "hotel", "car", "undo car 4", "undo hotel 3", "undo flight 2"]
    with pytest.raises(IllegalTransition, match="undone"):
        harness.retry(ended.run.id)


def test_cancelled_run_whose_undoing_failed_is_cancelled_after_its_retry(
    make_harness: MakeHarness, world: World
) -> None:
    """What the run was going to be is not forgotten when undoing it takes a second effort."""
    undone: list[int] = []

    def refuse_once(output: int) -> None:
        undone.append(output)
        if len(undone) == 1:
            raise NeverRetry("not today")

    @stage(retry=ONCE, compensate=refuse_once)
    async def stubborn(number: int) -> int:
        return number

    flow = line(stubborn).wait_for("go", bool)
    harness = make_harness(flow, services={World: world})
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.cancel(run_id)
    harness.drain()
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "COMPENSATION_FAILED"
    harness.retry(run_id)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.CANCELLED
    assert harness.run_of(run_id).failure is None


def _compensating(make_harness: MakeHarness, world: World, plan: FaultPlan) -> tuple[WatchedHarness, str]:
    world.failing["bang"] = 1
    harness = make_harness(TRIP, services={World: world}, plan=plan)
    run_id = harness.start(TRIP, 1)
    harness.admit()
    while harness.run_of(run_id).status is not RunStatus.COMPENSATING:
        harness.execute(*harness.lease())
    return harness, run_id


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(12))
def test_crash_while_undoing_repeats_at_most_one(make_harness: MakeHarness, number: int, fault: Fault) -> None:
    """Whichever call of the store fails or is the last one, everything is undone, and at most one thing twice."""
    world, plan = World(), FaultPlan()
    harness, run_id = _compensating(make_harness, world, plan)
    (lease,) = harness.lease()
    plan.fail_next(fault, after=number)
    try:
        harness.execute(lease)
    except (ProcessDied, Exception):  # noqa: BLE001 - whatever it was, another worker takes over
        harness.clock.advance("31s")
    other = make_harness(TRIP, services={World: world})
    other.drain()
    assert other.look(TRIP, run_id).status is RunStatus.FAILED
    undone = [name for name in world.done if name.startswith("undo")]
    assert list(dict.fromkeys(undone)) == ["undo car 4", "undo hotel 3", "undo flight 2"]
    assert len(undone) <= 4


def test_lost_worker_with_the_last_attempt_is_followed_by_undoing(make_harness: MakeHarness, world: World) -> None:
    """The reaper cannot know what follows, so a worker that knows is asked; it does not execute the stage again."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    harness.lease()
    harness.clock.advance("31s")
    reaped = harness.dispatch(LeaseReapStale())
    assert (reaped.released, reaped.failed) == (1, 0)
    harness.drain()

    ended = harness.look(TRIP, run_id)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("LEASE_EXPIRED", "hotel")
    assert world.done == ["flight", "undo flight 2"]


def test_lost_worker_that_was_to_tell_is_replaced(make_harness: MakeHarness, world: World) -> None:
    """However many workers die while they only have to tell of a failure, one of them will."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    for _ in range(5):
        assert len(harness.lease()) == 1
        harness.clock.advance("31s")
        assert harness.dispatch(LeaseReapStale()).released == 1
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.FAILED
    assert world.done == ["flight", "undo flight 2"]
