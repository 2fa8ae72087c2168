"""The smaller decisions: reap, rerun, derive, suspend, release, cancel, fire and admit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import EventType, RunStatus, StageStatus, workflow
from holdfast.change import ZERO, Finish, Requeue, Suspend
from holdfast.decide.admit import admit
from holdfast.decide.again import rerun
from holdfast.decide.cancel import cancel
from holdfast.decide.derive import derive
from holdfast.decide.fire import run_out
from holdfast.decide.reap import reap
from holdfast.decide.release import release
from holdfast.decide.suspend import poll_again, suspend
from holdfast.entities.run import TERMINAL_RUN
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance
from holdfast.entities.timer import DEADLINE, Timer, TimerKind
from holdfast.errors import IllegalTransition, UnknownStage
from holdfast_testing.clock import START
from tests.kernel.behaviour.flows import batching, diamond, line, step
from tests.kernel.decide.made import FAILURE, RUN_ID, expired, instance, key, lease, payload, run

DONE = StageStatus.COMPLETED


def snapshot(status: RunStatus, *stages: StageInstance, generation: int = 1) -> RunSnapshot:
    """Return the run in a status with these stage instances."""
    return RunSnapshot(run=run(status, generation=generation), stages=stages, arrivals={})


@pytest.mark.parametrize("attempt", [1, 2])
def test_expired_lease_with_attempts_left_is_ready_at_once(attempt: int) -> None:
    """An expired lease whose attempts are not used up goes back at once, the lost attempt counted."""
    change = reap(expired(attempt=attempt))

    assert isinstance(change.settle, Requeue)
    assert (change.settle.delay, change.settle.attempt) == (ZERO, attempt)
    assert change.step.run is None
    assert [event.type for event in change.step.events] == [EventType.STAGE_LEASE_EXPIRED]


def test_expired_lease_without_attempts_left_fails_the_run() -> None:
    """An expired lease whose attempts are used up ends stage and run, and says which worker went silent."""
    change = reap(expired(attempt=3))

    assert isinstance(change.settle, Finish)
    assert change.settle.status is StageStatus.FAILED
    assert change.settle.failure is not None
    assert change.settle.failure.code == "LEASE_EXPIRED"
    assert "dead" in change.settle.failure.message
    assert change.step.run is not None
    assert change.step.run.failure == change.settle.failure


def test_expired_poll_stays_suspended() -> None:
    """An expired lease on a poll is told as a failed poll, for the stage stays SUSPENDED."""
    change = reap(expired(attempt=1, status=StageStatus.SUSPENDED))

    assert [event.type for event in change.step.events] == [EventType.STAGE_POLL_FAILED]


@given(attempt=st.integers(1, 9), status=st.sampled_from([StageStatus.RUNNING, StageStatus.SUSPENDED]))
def test_reaper_is_fenced_by_epoch_and_clock(attempt: int, status: StageStatus) -> None:
    """Whatever it decides, the reaper acts only on that very lease and only while it is past its end."""
    fence = reap(expired(attempt=attempt, status=status)).fence

    assert fence is not None
    assert (fence.key, fence.epoch, fence.expired) == (key("s1"), 7, True)


@pytest.mark.parametrize("status", [status for status in RunStatus if not status.is_terminal])
def test_rerun_of_a_live_run_is_refused(status: RunStatus) -> None:
    """A run that has not ended cannot be rerun, and the error says what to do."""
    with pytest.raises(IllegalTransition, match=rf"{status.value}.*Cancel it first"):
        rerun(snapshot(status), definition=line(2).definition(), stage_id="s1")


def test_rerun_from_an_unknown_stage_is_refused() -> None:
    """A stage that the workflow does not have is refused with those it has, before anything else is looked at."""
    with pytest.raises(UnknownStage, match="s1, s2"):
        rerun(snapshot(RunStatus.RUNNING), definition=line(2).definition(), stage_id="s3")


def test_rerun_from_what_the_compiler_put_in_between_is_refused() -> None:
    """Only stages that a person wrote can be rerun from."""
    flow = workflow("mapped", input=list[int], version="1").map(step("each"))
    done = tuple(instance(stage_id, DONE) for stage_id in flow.definition().stages)
    with pytest.raises(UnknownStage, match="It has: each|each"):
        rerun(snapshot(RunStatus.COMPLETED, *done), definition=flow.definition(), stage_id="each~join")


def test_rerun_behind_what_never_completed_is_refused() -> None:
    """Stages before the target that never completed are all named."""
    stages = (instance("first", DONE), instance("left", StageStatus.FAILED), instance("right", StageStatus.CANCELLED))
    with pytest.raises(IllegalTransition, match="left, right"):
        rerun(snapshot(RunStatus.FAILED, *stages), definition=diamond().definition(), stage_id="total")


@given(status=st.sampled_from(sorted(TERMINAL_RUN, key=lambda status: status.value)), generation=st.integers(1, 99))
def test_rerun_opens_the_next_generation(status: RunStatus, generation: int) -> None:
    """A rerun readies the target's group in the next generation and expects exactly the run that it was decided on."""
    stages = tuple(instance(stage_id, DONE) for stage_id in ("first", "left", "right", "total"))
    decided = rerun(
        snapshot(status, *stages, generation=generation), definition=diamond().definition(), stage_id="right"
    )

    assert decided.generation == generation + 1
    assert decided.stage_ids == ("left", "right", "total")
    assert [(one.stage_id, one.from_turn) for one in decided.change.supersede] == [
        ("left", 0),
        ("right", 0),
        ("total", 0),
    ]
    assert {job.key for job in decided.change.step.jobs} == {
        key(stage_id, generation=generation + 1) for stage_id in ("left", "right")
    }
    assert decided.change.require.version == 9
    assert decided.change.require.statuses == TERMINAL_RUN


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.RUNNING])
def test_run_that_is_not_running_lacks_nothing(status: RunStatus) -> None:
    """Nothing follows for a run that is pending, waiting or over."""
    assert derive(snapshot(status, instance("s1", DONE)), definition=line(2).definition()) is None


@pytest.mark.parametrize("live", [StageStatus.READY, StageStatus.RUNNING, StageStatus.SUSPENDED])
def test_run_with_a_live_stage_lacks_nothing(live: StageStatus) -> None:
    """While a stage of it is live a run lacks nothing, even if another one failed or its group is half done."""
    stages = (instance("first", DONE), instance("left", live), instance("right", StageStatus.FAILED, failure=FAILURE))

    assert derive(snapshot(RunStatus.RUNNING, *stages), definition=diamond().definition()) is None


def test_missing_step_is_derived() -> None:
    """What is derived for completed, half done and failed groups is what should have followed."""
    definition = diamond().definition()
    first, left, right = (instance(stage_id, DONE) for stage_id in ("first", "left", "right"))
    advanced = derive(snapshot(RunStatus.RUNNING, first), definition=definition)
    joined = derive(snapshot(RunStatus.RUNNING, first, left, right), definition=definition)
    ended = derive(snapshot(RunStatus.RUNNING, first, left, right, instance("total", DONE)), definition=definition)
    failed = derive(
        snapshot(RunStatus.RUNNING, first, left, instance("right", StageStatus.FAILED, failure=FAILURE)),
        definition=definition,
    )

    assert advanced is not None
    assert [job.key.stage_id for job in advanced.step.jobs] == ["left", "right"]
    assert advanced.require.version == 9
    assert joined is not None
    assert [job.key.stage_id for job in joined.step.jobs] == ["total"]
    assert ended is not None
    assert ended.step.run is not None
    assert (ended.step.run.status, ended.step.run.output_of) == (RunStatus.COMPLETED, ("total",))
    assert failed is not None
    assert failed.step.run is not None
    assert (failed.step.run.status, failed.step.run.failure) == (RunStatus.FAILED, FAILURE)
    assert [event.type for event in failed.step.events] == [EventType.RUN_FAILED]


def test_suspension_waits_for_the_interval_but_never_beyond_giving_up() -> None:
    """A suspended stage is first polled after its interval, or at its give-up instant if that comes first."""
    polling = batching().definition().stages["batch"].polling
    assert polling is not None
    settle = suspend(lease("batch"), polling=polling, state=payload()).settle
    assert settle == Suspend(state=payload(), delay=timedelta(minutes=1), give_up_after=timedelta(hours=24))

    again = poll_again(lease("batch", attempt=3, status=StageStatus.SUSPENDED), delay=timedelta(minutes=5))
    assert again.settle == Requeue(delay=timedelta(minutes=5), attempt=0)
    assert again.step.events == ()


def test_released_job_gets_its_attempt_back() -> None:
    """A job that is handed back is due with one attempt less used, and a poll that is handed back tells nothing."""
    change = release(lease(attempt=2, epoch=4), delay=timedelta(seconds=9))
    poll = release(lease(attempt=2, status=StageStatus.SUSPENDED))

    assert change.settle == Requeue(delay=timedelta(seconds=9), attempt=1)
    assert [event.type for event in change.step.events] == [EventType.STAGE_RELEASED]
    assert poll.settle == Requeue(delay=ZERO, attempt=1)
    assert poll.step.events == ()


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED])
def test_cancel_and_deadline_act_on_any_run_that_goes_forward(status: RunStatus) -> None:
    """Cancelling and the deadline both end a run in any live status but one in which it is ending anyway."""
    timer = Timer(run_id=RUN_ID, id=DEADLINE, kind=TimerKind.RUN_DEADLINE, due_at=START)
    cancelled, timed_out = cancel(run(status), reason=None), run_out(timer, run(status))

    assert status in cancelled.require.statuses
    assert status in timed_out.require.statuses
    assert cancelled.step.run is not None
    assert cancelled.step.run.status is RunStatus.CANCELLED
    assert cancelled.step.events[0].data == {}
    assert timed_out.fired == DEADLINE
    assert timed_out.step.run is not None
    assert timed_out.step.run.failure is not None
    assert timed_out.step.run.failure.code == "RUN_TIMEOUT"


def test_admission_sets_the_deadline_of_the_run() -> None:
    """A run of a workflow with a timeout gets its timer with its first jobs, another one gets none."""
    flow = workflow("timed", input=int, version="1", timeout="1h").pipe(step("s1"))
    pending = run(RunStatus.PENDING)

    (timer,) = admit(pending, definition=flow.definition()).step.timers
    assert (timer.id, timer.kind, timer.delay) == (DEADLINE, TimerKind.RUN_DEADLINE, timedelta(hours=1))
    assert admit(pending, definition=line(1).definition()).step.timers == ()
