"""The decision to create a run."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.change import Change, NewAnnotation, NewRun, Step
from holdfast.entities.run import RunHeader
from holdfast.events import EventType, NewEvent


def create(header: RunHeader, *, idempotency_key: str | None, annotations: Mapping[str, object]) -> Change:
    """Return the change-set that inserts a PENDING run."""
    data = {"workflowId": header.workflow_id, "workflowVersion": header.workflow_version, "priority": header.priority}
    return Change(
        run_id=header.id,
        create=NewRun(header=header, idempotency_key=idempotency_key),
        step=Step(events=(NewEvent(type=EventType.RUN_CREATED, data=data),)),
        annotations=tuple(NewAnnotation(name=name, value=value) for name, value in annotations.items()),
    )
