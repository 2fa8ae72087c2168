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
    RUN_RETRIED = "run.retried"
    RUN_DUE = "run.due"
    RUN_PAUSED = "run.paused"
    RUN_UNPAUSED = "run.unpaused"
    RUN_COMPENSATING = "run.compensating"
    RUN_MESSAGE_KEPT = "run.message_kept"
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
    STAGE_SKIPPED = "stage.skipped"
    STAGE_WAITING = "stage.waiting"
    STAGE_RESUMED = "stage.resumed"
    STAGE_WAIT_EXPIRED = "stage.wait_expired"
    STAGE_KEY_AWAITED = "stage.key_awaited"
    STAGE_CHILD_STARTED = "stage.child_started"
    STAGE_COMPENSATED = "stage.compensated"


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
    EventType.STAGE_KEY_AWAITED: StageStatus.READY,
    EventType.STAGE_COMPLETED: StageStatus.COMPLETED,
    EventType.STAGE_FAILED: StageStatus.FAILED,
    EventType.STAGE_SKIPPED: StageStatus.SKIPPED,
    EventType.STAGE_WAITING: StageStatus.WAITING,
}

#: Events that wake an instance which is WAITING and leave any other as it is.
_WAKES: Final = frozenset({EventType.STAGE_RESUMED, EventType.STAGE_WAIT_EXPIRED})

#: The status a run has after an event about it; RUNNING may turn out to be WAITING.
_RUN_STATUS: Final[Mapping[EventType, RunStatus]] = {
    EventType.RUN_CREATED: RunStatus.PENDING,
    EventType.RUN_STARTED: RunStatus.RUNNING,
    EventType.RUN_PAUSED: RunStatus.PAUSED,
    EventType.RUN_UNPAUSED: RunStatus.RUNNING,
    EventType.RUN_COMPENSATING: RunStatus.COMPENSATING,
    EventType.RUN_COMPLETED: RunStatus.COMPLETED,
    EventType.RUN_FAILED: RunStatus.FAILED,
    EventType.RUN_CANCELLED: RunStatus.CANCELLED,
    EventType.RUN_RERUN: RunStatus.RUNNING,
    EventType.RUN_RETRIED: RunStatus.RUNNING,
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
        key = event.key
        if key is not None:
            stages[key] = _moved(event.type, stages.get(key, StageStatus.RUNNING))
            continue
        if event.type in _RUN_STATUS:
            status = _RUN_STATUS[event.type]
        if event.type in _CLOSING:
            # A run that closes takes its live instances with it, in the same commit and without an event for each.
            stages = {key: at if at.is_terminal else StageStatus.CANCELLED for key, at in stages.items()}
    if status is RunStatus.RUNNING and is_waiting(stages.values()):
        status = RunStatus.WAITING
    return Folded(status=status, stages=stages)


_CLOSING: Final = frozenset(
    {EventType.RUN_COMPENSATING, EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED}
)


def is_waiting(statuses: Iterable[StageStatus]) -> bool:
    """Return whether a run with instances of these statuses has live ones and all of them wait."""
    live = {status for status in statuses if not status.is_terminal}
    return live == {StageStatus.WAITING}


def _moved(kind: EventType, at: StageStatus) -> StageStatus:
    if kind in _WAKES:
        return StageStatus.READY if at is StageStatus.WAITING else at
    # Facts that do not move the instance, such as progress, keep its status.
    return _STAGE_STATUS.get(kind, at)
