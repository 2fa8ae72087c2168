"""The decision to cancel a run."""

from __future__ import annotations

from holdfast.change import Change, Require, RunPatch, Step
from holdfast.entities.run import LIVE_RUN, RunStatus
from holdfast.events import EventType, NewEvent


def cancel(run_id: str, *, reason: str | None) -> Change:
    """Return the change-set that cancels the run, whatever live status it is in, with all its live stage instances."""
    data = {} if reason is None else {"reason": reason}
    return Change(
        run_id=run_id,
        require=Require(statuses=LIVE_RUN),
        step=Step(
            run=RunPatch(status=RunStatus.CANCELLED),
            events=(NewEvent(type=EventType.RUN_CANCELLED, data=data),),
        ),
    )
