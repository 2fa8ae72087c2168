"""What cancelling stops, and who wins when a run is cancelled and completed at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast import Context, Pending, RunCancel, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.commands.run_cancel import RunCancelResult
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.errors import InvalidInput
from holdfast.verdicts import JobOutcome
from tests.kernel.behaviour.flows import Provider, batching, diamond, line
from tests.kernel.watching import MANY, MakeHarness, WatchedHarness


def test_parity_074_ended_or_unknown_run_is_not_cancelled(make_harness: MakeHarness) -> None:
    """Cancelling a run that completed or does not exist says so and changes nothing."""
    flow = line(1)
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    assert harness.dispatch(RunCancel(run_id=ended.run.id)) == RunCancelResult(
        cancelled=False, status=RunStatus.COMPLETED
    )
    assert harness.dispatch(RunCancel(run_id="unknown")) == RunCancelResult(cancelled=False, status=None)
    assert harness.look(flow, ended.run.id) == ended


def test_cancelling_ends_everything_of_the_run_that_is_live(make_harness: MakeHarness) -> None:
    """A cancelled run has its ready, running and suspended stages cancelled, tells why, and leaves nothing due."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    harness.lease()
    result = harness.dispatch(RunCancel(run_id=run_id, reason="not needed"))

    assert result == RunCancelResult(cancelled=True, status=RunStatus.CANCELLED)
    assert harness.statuses(run_id) == {
        "first": StageStatus.COMPLETED,
        "left": StageStatus.CANCELLED,
        "right": StageStatus.CANCELLED,
    }
    assert harness.events(run_id)[-1].data == {"reason": "not needed"}
    assert harness.run_of(run_id).finished_at is not None
    assert run_sync(harness.persistence.next_due()) is None
    assert harness.dispatch(RunCancel(run_id=run_id)).cancelled is False


def test_parity_075_outcome_of_a_stage_whose_run_was_cancelled_is_discarded(make_harness: MakeHarness) -> None:
    """A stage that executes while its run is cancelled leaves no output, annotation, artifact, log or progress."""

    @stage
    async def go_on(number: int, ctx: Context) -> int:
        ctx.annotate("who", "stage")
        ctx.log("working")
        ctx.progress(1, 2)
        await ctx.save("report", [1])
        harness.dispatch(RunCancel(run_id=ctx.run_id))
        return number

    flow = workflow("going", input=int, version="1").pipe(go_on)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    executed = harness.execute(*harness.lease())

    assert executed.outcome is JobOutcome.LOST
    assert executed.output is None
    assert harness.stage(run_id, "go_on").status is StageStatus.CANCELLED
    assert harness.stage(run_id, "go_on").output is None
    assert run_sync(harness.persistence.list_annotations(run_id, limit=MANY)) == []
    assert run_sync(harness.persistence.list_artifacts(run_id)) == []
    assert run_sync(harness.persistence.list_logs(run_id, limit=MANY)) == []
    assert harness.kinds(run_id)[-1] == "run.cancelled"
    assert "stage.progress" not in harness.kinds(run_id)


def test_parity_076_stage_whose_run_is_cancelled_during_its_poll_is_cancelled(make_harness: MakeHarness) -> None:
    """A poll that finds the work done does not complete its stage when the run was cancelled meanwhile."""

    class Cancelling(Provider):
        def ask(self, reference: str) -> int | Pending:
            harness.dispatch(RunCancel(run_id=run_id))
            return 5

    flow = batching()
    harness = make_harness(flow, services={Provider: Cancelling()})
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("1m")
    polled = harness.dispatch(StagePollSuspended(worker="w1"))

    assert (polled.checked, polled.resumed, polled.failed) == (1, 0, 0)
    assert harness.stage(run_id, "batch").status is StageStatus.CANCELLED
    assert harness.run_of(run_id).status is RunStatus.CANCELLED


def _complete(harness: WatchedHarness) -> Callable[[], object]:
    lease = harness.lease()[0]
    return lambda: harness.execute(lease)


def test_weak_13_cancel_that_comes_second_leaves_a_completed_run(make_harness: MakeHarness) -> None:
    """When a run completes while its cancellation is decided, it stays COMPLETED and the caller is told."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.store.before_commit = _complete(harness)

    assert harness.dispatch(RunCancel(run_id=run_id)) == RunCancelResult(cancelled=False, status=RunStatus.COMPLETED)
    assert harness.run_of(run_id).status is RunStatus.COMPLETED
    assert harness.kinds(run_id)[-1] == "run.completed"


def test_weak_13_completion_that_comes_second_leaves_a_cancelled_run(make_harness: MakeHarness) -> None:
    """When a run is cancelled between the end of its stage and the commit of that, the stage is not COMPLETED."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    harness.store.before_commit = lambda: harness.dispatch(RunCancel(run_id=run_id))
    executed = harness.execute(lease)

    assert executed.outcome is JobOutcome.LOST
    assert harness.run_of(run_id).status is RunStatus.CANCELLED
    assert harness.stage(run_id, "s1").status is StageStatus.CANCELLED
    assert harness.kinds(run_id)[-1] == "run.cancelled"


def test_weak_13_cancel_behind_a_step_cancels_what_followed_from_it(make_harness: MakeHarness) -> None:
    """When a stage completes while the cancellation is decided, the run is cancelled with the stage that followed."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.store.before_commit = _complete(harness)

    assert harness.dispatch(RunCancel(run_id=run_id)).cancelled is True
    assert harness.statuses(run_id) == {"s1": StageStatus.COMPLETED, "s2": StageStatus.CANCELLED}
    assert harness.work_off() == []


@pytest.mark.parametrize("reason", ["a\x00b", "x" * 256, "line\nbreak"])
def test_reason_that_not_every_store_can_hold_is_refused(make_harness: MakeHarness, reason: str) -> None:
    """A reason with control characters, or a very long one, is refused before anything changes."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)

    with pytest.raises(InvalidInput):
        harness.dispatch(RunCancel(run_id=run_id, reason=reason))
    assert harness.run_of(run_id).status is RunStatus.PENDING
