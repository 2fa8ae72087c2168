"""The decisions to hold a run back and to let it go on."""

from __future__ import annotations

from holdfast.change import Change, Require, RunPatch, Step
from holdfast.entities.run import RunStatus
from holdfast.events import EventType, NewEvent


def pause(run_id: str, *, reason: str | None) -> Change:
    """Return the change-set after which nothing of the run begins; what executes may end."""
    data = {} if reason is None else {"reason": reason}
    return Change(
        run_id=run_id,
        require=Require(statuses=frozenset({RunStatus.RUNNING, RunStatus.WAITING})),
        step=Step(run=RunPatch(status=RunStatus.PAUSED), events=(NewEvent(type=EventType.RUN_PAUSED, data=data),)),
    )


def unpause(run_id: str) -> Change:
    """Return the change-set that lets the run go on."""
    return Change(
        run_id=run_id,
        require=Require(statuses=frozenset({RunStatus.PAUSED})),
        step=Step(run=RunPatch(status=RunStatus.RUNNING), events=(NewEvent(type=EventType.RUN_UNPAUSED),)),
    )
