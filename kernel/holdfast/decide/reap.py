"""The decision about a lease that is past its end: another attempt, or the end of the stage and its run."""

from __future__ import annotations

from holdfast.change import ZERO, Change, Fence, Finish, Requeue, RunPatch, Step
from holdfast.decide.ending import unable_to_undo
from holdfast.decide.fail import failed
from holdfast.entities.definition import UNDO
from holdfast.entities.run import Failure, RunStatus
from holdfast.entities.stage import ExpiredLease, StageStatus
from holdfast.events import EventType, NewEvent


def reap(expired: ExpiredLease) -> Change:
    """Return the change-set that takes the job back, or fails it when its attempts are used up.

    It needs no definition, so every host can reap every job; it is fenced by the epoch and by the store's clock, so
    a lease that was extended or settled meanwhile is left alone. A guarded job whose attempts are used up is handed
    out once more, to a worker that knows what follows from its failure: that worker does not execute it.
    """
    fence = Fence(key=expired.key, epoch=expired.epoch, expired=True)
    failure = expiry(expired)
    if expired.attempt >= expired.max_attempts and not expired.guarded:
        told = {"stage": expired.key.stage_id, "code": failure.code, "message": failure.message}
        return Change(
            run_id=expired.key.run_id,
            fence=fence,
            settle=Finish(status=StageStatus.FAILED, failure=failure),
            step=Step(
                run=RunPatch(status=RunStatus.FAILED, failure=failure),
                events=(
                    failed(failure, key=expired.key, attempt=expired.attempt),
                    NewEvent(type=EventType.RUN_FAILED, data=told),
                ),
            ),
        )
    polling = expired.status is StageStatus.SUSPENDED
    event = NewEvent(
        type=EventType.STAGE_POLL_FAILED if polling else EventType.STAGE_LEASE_EXPIRED,
        key=expired.key,
        data={"attempt": expired.attempt, "worker": expired.worker, "code": failure.code},
    )
    return Change(
        run_id=expired.key.run_id,
        fence=fence,
        # Past the last attempt the count stays where it is, however often the one that is to tell dies itself.
        settle=Requeue(delay=ZERO, attempt=min(expired.attempt, expired.max_attempts), failure=failure),
        step=Step(events=(event,)),
    )


def expiry(expired: ExpiredLease) -> Failure:
    """Return the failure of an attempt that nobody heard the end of."""
    failure = Failure(
        code="LEASE_EXPIRED",
        message=(
            f"Worker {expired.worker} stopped without a word during attempt "
            f"{min(expired.attempt, expired.max_attempts)} of {expired.max_attempts}."
        ),
        stage_id=expired.key.stage_id,
    )
    is_over = expired.key.stage_id == UNDO and expired.attempt >= expired.max_attempts
    return unable_to_undo(failure) if is_over else failure
