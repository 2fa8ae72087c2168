"""The decision to hand a job back that was leased but not executed to its end."""

from __future__ import annotations

from datetime import timedelta

from holdfast.change import ZERO, Change, Fence, Requeue, Step
from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType, NewEvent


def release(lease: Lease, *, delay: timedelta = ZERO) -> Change:
    """Return the change-set that makes the job due after *delay* and gives its attempt back."""
    released = NewEvent(type=EventType.STAGE_RELEASED, key=lease.key, data={"worker": lease.worker})
    return Change(
        run_id=lease.key.run_id,
        fence=Fence(key=lease.key, epoch=lease.epoch),
        settle=Requeue(delay=delay, attempt=lease.attempt - 1),
        # A poll that is handed back leaves the instance SUSPENDED, so there is nothing to tell.
        step=Step(events=(released,) if lease.status is StageStatus.RUNNING else ()),
    )
