"""A change-set made ready on its caller's thread, so that the writing thread encodes nothing while others wait."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from holdfast.change import Arrival, Change, NewJob
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.events import NewEvent
from holdfast_adapters.sqlite import rows

_READY: Final = StageStatus.READY.value
_RUNNING: Final = StageStatus.RUNNING.value

#: A stage instance within its run: stage id, generation, item.
JobKey = tuple[str, int, int]
#: An event without run, number and instant: type, stage id, generation, item, data.
EventText = tuple[str, str | None, int | None, int | None, str | None]

_NO_JOB: Final = (None, None, None)
_NO_PAYLOAD: Final = (None, None, None, None)


class Prepared:
    """A change-set with everything encoded that needs no look at the store."""

    __slots__ = (
        "arrivals",
        "change",
        "events",
        "has_more",
        "job",
        "logs",
        "looks_further",
        "notes",
        "operations",
        "run_id",
        "statuses",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.run_id = change.run_id
        fence = change.fence
        #: The fenced job.
        self.job = None if fence is None else job_key(fence.key)
        self.statuses = _status_texts(change.require.statuses)
        self.events = [event_text(event) for event in change.step.events]
        #: Whether it is judged by more than its run and its fenced job.
        self.looks_further = change.fired is not None
        self.arrivals: list[tuple[Arrival, list[EventText]]] = []
        for arrival in change.arrivals:
            self.arrivals.append((arrival, [event_text(event) for event in arrival.step.events]))
            self.looks_further = self.looks_further or arrival.arity > 1
        #: Whether there is anything that a plain step does not have.
        self.has_more = bool(
            change.operations or change.annotations or change.logs or change.artifacts or change.checkpoints
        )
        #: Identities of the operations it records.
        self.operations: Sequence[tuple[str, str, str]] = ()
        self.notes: Sequence[tuple[Any, ...]] = ()
        self.logs: Sequence[tuple[Any, ...]] = ()
        if self.has_more:
            self._prepare_more()

    def _prepare_more(self) -> None:
        change = self.change
        self.looks_further = self.looks_further or bool(change.operations)
        self.operations = [(record.tenant, record.scope, record.key) for record in change.operations]
        self.notes = [
            (
                each.name,
                rows.encode(each.value),
                *(job_key(each.key) if each.key else _NO_JOB),
                each.attempt,
                each.actor,
            )
            for each in change.annotations
        ]
        self.logs = [
            (
                *job_key(each.key),
                each.attempt,
                each.level,
                each.message,
                rows.mapping_text(each.data),
                rows.micros(each.at),
            )
            for each in change.logs
        ]

    def looked_up(self) -> tuple[Any, ...]:
        """Return the row of `wave.CHECK` that finds its run and its fenced job."""
        return (self.run_id, *(self.job or _NO_JOB))


@cache
def _status_texts(statuses: frozenset[RunStatus]) -> frozenset[str]:
    return frozenset(status.value for status in statuses)


def job_key(key: StageKey) -> JobKey:
    """Return a stage instance within its run."""
    return (key.stage_id, key.generation, key.item)


def event_text(event: NewEvent) -> EventText:
    """Return the columns of an event that the caller knows."""
    key = event.key
    data = rows.mapping_text(event.data) if event.data else None
    if key is None:
        return (event.type.value, None, None, None, data)
    return (event.type.value, key.stage_id, key.generation, key.item, data)


def payload_columns(payload: Payload | None) -> tuple[Any, ...]:
    """Return the columns of a payload: text, digest, size, blob."""
    return _NO_PAYLOAD if payload is None else (payload.text, payload.digest, payload.size, payload.blob)


def job_row(job: NewJob, *, run: int, now: int) -> tuple[Any, ...]:
    """Return the columns of a new job, in the order of `writes.INSERT_JOB`."""
    grant = job.grant
    key = (run, *job_key(job.key))
    kind = (job.workflow_id, job.workflow_version, job.queue, job.priority)
    if grant is None:
        return (*key, _READY, *kind, now + rows.span(job.delay), 0, 0, job.max_attempts, None, None, None)
    until = now + rows.span(grant.ttl)
    return (*key, _RUNNING, *kind, None, 1, 1, job.max_attempts, grant.worker, until, now)
