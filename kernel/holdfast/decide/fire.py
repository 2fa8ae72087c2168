"""The decision about a timer whose instant has come."""

from __future__ import annotations

from holdfast.change import Change, Require, RunPatch, Step
from holdfast.entities.run import LIVE_RUN, Failure, RunStatus
from holdfast.entities.timer import Timer
from holdfast.events import EventType, NewEvent


def fire(timer: Timer) -> Change:
    """Return the change-set that acts on the run's deadline: the run fails and its live instances are cancelled."""
    failure = Failure(code="RUN_TIMEOUT", message="The run took longer than its workflow's timeout.")
    return Change(
        run_id=timer.run_id,
        require=Require(statuses=LIVE_RUN),
        fired=timer.id,
        step=Step(
            run=RunPatch(status=RunStatus.FAILED, failure=failure),
            events=(NewEvent(type=EventType.RUN_FAILED, data={"code": failure.code, "message": failure.message}),),
        ),
    )
