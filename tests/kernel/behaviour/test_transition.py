"""What follows from what is done: with the completion itself, and by run.transition where something is lacking."""

from __future__ import annotations

import pytest

from holdfast import RunCancel, RunRerunFrom, RunStatus, StageStatus, run_sync
from holdfast.change import Change, Committed, Fence, Finish, Step
from holdfast.codec import digest
from holdfast.commands.run_transition import RunTransition, TransitionAction
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import UnknownWorkflow
from holdfast.events import EventType, NewEvent
from tests.kernel.behaviour.flows import diamond, flaky, line, pair
from tests.kernel.watching import MakeHarness, WatchedHarness


def end_alone(harness: WatchedHarness, lease: Lease, *, failure: Failure | None = None) -> None:
    """Finish the leased job as no kernel does: without what follows from it."""
    status, kind = StageStatus.COMPLETED, EventType.STAGE_COMPLETED
    if failure is not None:
        status, kind = StageStatus.FAILED, EventType.STAGE_FAILED
    output = None if failure is not None else Payload(text="7", digest=digest("7"), size=1)
    change = Change(
        run_id=lease.key.run_id,
        fence=Fence(key=lease.key, epoch=lease.epoch),
        settle=Finish(status=status, output=output, failure=failure),
        step=Step(events=(NewEvent(type=kind, key=lease.key),)),
    )
    harness.store.may_lack = True
    (outcome,) = run_sync(harness.persistence.commit((change,)))
    harness.store.may_lack = False
    assert isinstance(outcome, Committed)


def transition(harness: WatchedHarness, run_id: str) -> TransitionAction:
    """Dispatch run.transition and return what it did."""
    return harness.dispatch(RunTransition(run_id=run_id)).action


def test_parity_063_run_that_is_unknown_or_not_running_needs_nothing(make_harness: MakeHarness) -> None:
    """A transition of an unknown, pending, completed or cancelled run does nothing."""
    flow = line(1)
    harness = make_harness(flow)
    completed = harness.run(flow, 1).run.id
    pending, cancelled = harness.start(flow, 1), harness.start(flow, 1)
    harness.dispatch(RunCancel(run_id=cancelled))
    written = len(harness.store.committed)

    for run_id in ("unknown", pending, completed, cancelled):
        assert transition(harness, run_id) is TransitionAction.NOOP
    assert len(harness.store.committed) == written


def test_parity_065_completed_group_readies_the_next_one(make_harness: MakeHarness) -> None:
    """The completion of a group readies the next group in the same commit, and a transition adds nothing."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    written = len(harness.store.committed)
    harness.execute(*harness.lease())

    assert len(harness.store.committed) == written + 1
    assert harness.statuses(run_id)["left"] is harness.statuses(run_id)["right"] is StageStatus.READY
    assert transition(harness, run_id) is TransitionAction.NOOP


def test_parity_065_transition_readies_what_is_lacking(make_harness: MakeHarness) -> None:
    """A run whose group completed without consequence is advanced by a transition, which names the new jobs."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    end_alone(harness, *harness.lease())

    result = harness.dispatch(RunTransition(run_id=run_id))

    assert result.action is TransitionAction.ADVANCED
    assert [key.stage_id for key in result.jobs] == ["left", "right"]
    harness.drain()
    assert harness.look(flow, run_id).output == 16


def test_parity_066_run_completes_once_after_its_last_group(make_harness: MakeHarness) -> None:
    """A run completes with its output and one event when its last group is done, also by a transition."""
    flow = line(1)
    harness = make_harness(flow)
    normal = harness.run(flow, 6)
    run_id = harness.start(flow, 6)
    harness.admit()
    end_alone(harness, *harness.lease())

    assert transition(harness, run_id) is TransitionAction.COMPLETED
    assert transition(harness, run_id) is TransitionAction.NOOP
    for ended in (normal, harness.look(flow, run_id)):
        assert ended.status is RunStatus.COMPLETED
        assert ended.output == 7
        assert ended.story.count("run.completed") == 1


def test_parity_067_failed_stage_without_a_retry_fails_the_run(make_harness: MakeHarness) -> None:
    """A stage that fails for good fails its run with the stage's error, in one commit or by a transition."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    failure = Failure(code="STAGE_ERROR", message="no luck", stage_id="s1")
    end_alone(harness, *harness.lease(), failure=failure)

    assert transition(harness, run_id) is TransitionAction.FAILED
    ended = harness.look(flow, run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.failure == failure
    last = ended.events[-1]
    assert last.type is EventType.RUN_FAILED
    assert (last.data["stage"], last.data["message"]) == ("s1", "no luck")


def test_parity_068_failed_attempt_with_a_retry_ahead_does_not_fail_the_run(make_harness: MakeHarness) -> None:
    """While another attempt lies ahead the run goes on, even when a sibling completes; then it completes."""
    flow = diamond(flaky("left", failures=1))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()

    assert harness.statuses(run_id) == {
        "first": StageStatus.COMPLETED,
        "left": StageStatus.READY,
        "right": StageStatus.COMPLETED,
    }
    assert transition(harness, run_id) is TransitionAction.NOOP
    assert harness.run_of(run_id).status is RunStatus.RUNNING

    harness.clock.advance("10s")
    (again,) = harness.lease()
    assert again.attempt == 2
    assert transition(harness, run_id) is TransitionAction.NOOP
    harness.execute(again)
    harness.drain()
    assert harness.look(flow, run_id).output == 6


def test_parity_069_run_fails_with_the_last_attempt_of_a_stage(make_harness: MakeHarness) -> None:
    """When the attempts of a stage are used up, stage and run fail in the same commit and siblings are cancelled."""
    flow = diamond(flaky("left", failures=9))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    for attempt in (1, 2, 3):
        (lease,) = [lease for lease in harness.lease(limit=2) if lease.key.stage_id == "left"]
        assert lease.attempt == attempt
        harness.execute(lease)
        harness.clock.advance("10s")

    ended = harness.look(flow, run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.message == "attempt 3 failed"
    assert harness.statuses(run_id)["left"] is StageStatus.FAILED
    assert harness.statuses(run_id)["right"] is StageStatus.CANCELLED
    assert harness.store.committed[-1].step.run is not None


def test_parity_070_transition_that_comes_second_does_nothing(make_harness: MakeHarness) -> None:
    """When somebody else advances the run while a transition is decided, the transition changes nothing."""
    flow = pair()
    harness = make_harness(line(2), flow)
    run_id = harness.start(line(2), 1)
    harness.admit()
    end_alone(harness, *harness.lease())
    faster: list[TransitionAction] = []
    harness.store.before_commit = lambda: faster.append(transition(harness, run_id))

    assert transition(harness, run_id) is TransitionAction.NOOP
    assert faster == [TransitionAction.ADVANCED]
    assert [lease.key.stage_id for lease in harness.lease(limit=9)] == ["s2"]
    assert harness.kinds(run_id).count("stage.ready") == 2


def test_parity_071_stages_that_follow_in_a_rerun_are_of_its_generation(make_harness: MakeHarness) -> None:
    """Stages that become ready in a rerun carry the run's new generation, also when a transition readies them."""
    flow = line(3)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="s1"))
    harness.execute(*harness.lease())
    assert harness.stage(run_id, "s2", generation=2).status is StageStatus.READY

    end_alone(harness, *harness.lease())
    result = harness.dispatch(RunTransition(run_id=run_id))

    assert result.jobs == (StageKey(run_id=run_id, stage_id="s3", generation=2),)


def test_parity_072_stages_that_are_there_are_not_made_twice(make_harness: MakeHarness) -> None:
    """A transition while the next group exists, ready, running or done in part, makes no stage a second time."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    for _ in range(2):
        assert transition(harness, run_id) is TransitionAction.NOOP
        harness.execute(*harness.lease())

    assert transition(harness, run_id) is TransitionAction.NOOP
    harness.drain()
    assert sorted(harness.calls.names) == ["first", "left", "right", "total"]
    assert len(harness.look(flow, run_id).stages) == 4


def test_transition_of_a_run_unknown_here_is_refused(make_harness: MakeHarness) -> None:
    """A host that does not know the run's workflow refuses to say what follows."""
    flow = line(2)
    harness, ignorant = make_harness(flow), make_harness(pair())
    run_id = harness.start(flow, 1)
    harness.admit()

    with pytest.raises(UnknownWorkflow):
        transition(ignorant, run_id)
