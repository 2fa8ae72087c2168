"""The decision after an attempt failed: another attempt after a delay, or the end of the stage and its run."""

from __future__ import annotations

from datetime import timedelta

from holdfast.change import Change, Finish, Requeue, RunPatch, Step
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.entities.run import Failure, RunStatus
from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.events import EventType, NewEvent


def retry(lease: Lease, *, failure: Failure, delay: timedelta, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that gives the job another attempt after *delay*."""
    polling = lease.status is StageStatus.SUSPENDED
    event = NewEvent(
        type=EventType.STAGE_POLL_FAILED if polling else EventType.STAGE_RETRYING,
        key=lease.key,
        data={
            "attempt": lease.attempt,
            "code": failure.code,
            "message": failure.message,
            "delaySeconds": delay.total_seconds(),
        },
    )
    return outcome(
        lease,
        settle=Requeue(delay=delay, attempt=lease.attempt, failure=failure),
        left=left,
        step=Step(events=(*left.events, event)),
    )


def fail(lease: Lease, *, failure: Failure, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that fails the stage and, with it, the run; siblings still live are cancelled."""
    return outcome(
        lease,
        settle=Finish(status=StageStatus.FAILED, failure=failure, metrics=left.metrics),
        left=left,
        step=failing(failure, key=lease.key, attempt=lease.attempt, before=left.events),
    )


def failing(failure: Failure, *, key: StageKey, attempt: int, before: tuple[NewEvent, ...] = ()) -> Step:
    """Return the step that tells of the failed stage and fails its run."""
    told = {"code": failure.code, "message": failure.message}
    return Step(
        run=RunPatch(status=RunStatus.FAILED, failure=failure),
        events=(
            *before,
            NewEvent(type=EventType.STAGE_FAILED, key=key, data={"attempt": attempt, **told}),
            NewEvent(type=EventType.RUN_FAILED, data={"stage": key.stage_id, **told}),
        ),
    )
