"""The decision to create a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs

from holdfast.change import ZERO, Change, NewRun, NewTimer, Step
from holdfast.entities.run import RunHeader
from holdfast.entities.timer import PARENT, START, TimerKind
from holdfast.events import EventType, NewEvent
from holdfast.traces import NewAnnotation


@attrs.frozen(kw_only=True)
class Wanted:
    """What a new run is given beside its header."""

    idempotency_key: str | None = None
    annotations: Mapping[str, object] = attrs.field(factory=dict)
    state: Mapping[str, Any] = attrs.field(factory=dict)
    #: How long it is to wait before it may be admitted.
    delay: timedelta = ZERO
    singleton: str | None = None
    #: Whether it waits for its turn while another run has the same singleton key.
    queues_up: bool = False


def create(header: RunHeader, wanted: Wanted) -> Change:
    """Return the change-set that inserts a PENDING run."""
    data: dict[str, Any] = {
        "workflowId": header.workflow_id,
        "workflowVersion": header.workflow_version,
        "priority": header.priority,
    }
    if header.concurrency_key:
        data["concurrencyKey"] = header.concurrency_key
    if wanted.singleton is not None:
        data["singleton"] = wanted.singleton
    timers: tuple[NewTimer, ...] = ()
    if header.parent_id is not None:
        data["parentId"] = header.parent_id
        # The parent may have ended just before: nobody else would tell a child that it did not have yet.
        timers = (NewTimer(id=PARENT, kind=TimerKind.PARENT_ENDED, delay=ZERO),)
    if wanted.delay > ZERO:
        data["startInSeconds"] = wanted.delay.total_seconds()
        timers = (
            *timers,
            NewTimer(id=START, kind=TimerKind.RUN_START, delay=wanted.delay),
        )
    return Change(
        run_id=header.id,
        create=NewRun(
            header=header,
            idempotency_key=wanted.idempotency_key,
            held=wanted.delay > ZERO,
            state=wanted.state,
            singleton=wanted.singleton,
            queues_up=wanted.queues_up,
        ),
        step=Step(timers=timers, events=(NewEvent(type=EventType.RUN_CREATED, data=data),)),
        annotations=tuple(NewAnnotation(name=name, value=value) for name, value in wanted.annotations.items()),
    )
