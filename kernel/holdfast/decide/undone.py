"""The decision after everything that a run's stages did has been undone: the run ends as it was going to."""

from __future__ import annotations

from holdfast.change import Change, Finish, RunPatch, Step
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.entities.run import Failure, RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType, NewEvent


def undone(lease: Lease, *, failure: Failure | None, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that ends the run: FAILED with what had failed, or CANCELLED when nothing had."""
    events = [*left.events, NewEvent(type=EventType.STAGE_COMPLETED, key=lease.key, data={"attempt": lease.attempt})]
    if failure is None:
        patch = RunPatch(status=RunStatus.CANCELLED)
        events.append(NewEvent(type=EventType.RUN_CANCELLED, data={}))
    else:
        patch = RunPatch(status=RunStatus.FAILED, failure=failure)
        told = {"code": failure.code, "message": failure.message}
        events.append(NewEvent(type=EventType.RUN_FAILED, data=told))
    return outcome(
        lease,
        settle=Finish(status=StageStatus.COMPLETED),
        left=left,
        step=Step(run=patch, events=tuple(events)),
    )
