"""The facts of a run: what a change-set appends, what the timeline shows, and how they fold back into statuses."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus


class EventType(enum.Enum):
    """Every kind of fact a run's timeline holds."""

    RUN_CREATED = "run.created"
    RUN_STARTED = "run.started"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_RERUN = "run.rerun"
    STAGE_READY = "stage.ready"
    STAGE_STARTED = "stage.started"
    STAGE_PROGRESS = "stage.progress"
    STAGE_SUSPENDED = "stage.suspended"
    STAGE_POLL_FAILED = "stage.poll_failed"
    STAGE_RETRYING = "stage.retrying"
    STAGE_RELEASED = "stage.released"
    STAGE_LEASE_EXPIRED = "stage.lease_expired"
    STAGE_COMPLETED = "stage.completed"
    STAGE_FAILED = "stage.failed"


@attrs.frozen(kw_only=True)
class NewEvent:
    """A fact that a change-set appends; the store gives it its number and its instant."""

    type: EventType
    #: The stage instance it is about; None when it is about the run.
    key: StageKey | None = None
    #: JSON values only.
    data: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Event:
    """A committed fact of one run."""

    run_id: str
    #: 1, 2, 3… within the run, without gaps.
    number: int
    type: EventType
    #: Instant of the commit by the store's clock, aware, UTC.
    at: datetime
    key: StageKey | None
    data: Mapping[str, Any]


#: The status an instance has after an event about it.
_STAGE_STATUS: Final[Mapping[EventType, StageStatus]] = {
    EventType.STAGE_READY: StageStatus.READY,
    EventType.STAGE_STARTED: StageStatus.RUNNING,
    EventType.STAGE_SUSPENDED: StageStatus.SUSPENDED,
    EventType.STAGE_POLL_FAILED: StageStatus.SUSPENDED,
    EventType.STAGE_RETRYING: StageStatus.READY,
    EventType.STAGE_RELEASED: StageStatus.READY,
    EventType.STAGE_LEASE_EXPIRED: StageStatus.READY,
    EventType.STAGE_COMPLETED: StageStatus.COMPLETED,
    EventType.STAGE_FAILED: StageStatus.FAILED,
}

#: The status a run has after an event about it.
_RUN_STATUS: Final[Mapping[EventType, RunStatus]] = {
    EventType.RUN_CREATED: RunStatus.PENDING,
    EventType.RUN_STARTED: RunStatus.RUNNING,
    EventType.RUN_COMPLETED: RunStatus.COMPLETED,
    EventType.RUN_FAILED: RunStatus.FAILED,
    EventType.RUN_CANCELLED: RunStatus.CANCELLED,
    EventType.RUN_RERUN: RunStatus.RUNNING,
}


@attrs.frozen(kw_only=True)
class Folded:
    """What a run's events say about its present state."""

    status: RunStatus | None
    stages: Mapping[StageKey, StageStatus]


def fold(events: Iterable[Event]) -> Folded:
    """Return the state that *events*, in order, lead to; it must equal the stored rows at all times."""
    status: RunStatus | None = None
    stages: dict[StageKey, StageStatus] = {}
    for event in events:
        if event.key is not None:
            # Facts that do not move the instance, such as progress, keep its status.
            stages[event.key] = _STAGE_STATUS.get(event.type, stages.get(event.key, StageStatus.RUNNING))
            continue
        status = _RUN_STATUS.get(event.type, status)
        if status is not None and status.is_terminal:
            # A run that ends takes its live instances with it, in the same commit and without an event for each.
            stages = {key: at if at.is_terminal else StageStatus.CANCELLED for key, at in stages.items()}
    return Folded(status=status, stages=stages)
