"""The decision about a lease that is past its end: another attempt, or the end of the stage and its run."""

from __future__ import annotations

from holdfast.change import ZERO, Change, Fence, Finish, Requeue, Step
from holdfast.decide.fail import failing
from holdfast.entities.run import Failure
from holdfast.entities.stage import ExpiredLease, StageStatus
from holdfast.events import EventType, NewEvent


def reap(expired: ExpiredLease) -> Change:
    """Return the change-set that takes the job back, or fails it when its attempts are used up.

    It needs no definition, so every host can reap every job; it is fenced by the epoch and by the store's clock, so
    a lease that was extended or settled meanwhile is left alone.
    """
    fence = Fence(key=expired.key, epoch=expired.epoch, expired=True)
    failure = Failure(
        code="LEASE_EXPIRED",
        message=(
            f"Worker {expired.worker} stopped without a word during attempt {expired.attempt} "
            f"of {expired.max_attempts}."
        ),
        stage_id=expired.key.stage_id,
    )
    if expired.attempt >= expired.max_attempts:
        return Change(
            run_id=expired.key.run_id,
            fence=fence,
            settle=Finish(status=StageStatus.FAILED, failure=failure),
            step=failing(failure, key=expired.key, attempt=expired.attempt),
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
        settle=Requeue(delay=ZERO, attempt=expired.attempt, failure=failure),
        step=Step(events=(event,)),
    )
