"""The mutable rows of the memory store and how they become the frozen entities that callers see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from holdfast.change import NewJob, NewLog, NewRun
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.events import Event, EventType
from holdfast.ports.queries import Annotation, LogLine

#: An event as it is kept: its number is its place in the run's list.
EventRow = tuple[EventType, datetime, StageKey | None, Mapping[str, Any]]


class InstanceRow:
    """A stage instance: a live job first, a record once it is done."""

    __slots__ = (
        "attempt",
        "due_at",
        "epoch",
        "failure",
        "finished_at",
        "give_up_at",
        "key",
        "lease_until",
        "max_attempts",
        "metrics",
        "output",
        "priority",
        "queue",
        "run",
        "settled_epoch",
        "stamp",
        "started_at",
        "state",
        "status",
        "superseded",
        "worker",
    )

    def __init__(self, job: NewJob, run: RunRow, *, stamp: int) -> None:
        self.key = job.key
        self.run = run
        self.queue = job.queue
        self.priority = job.priority
        self.max_attempts = job.max_attempts
        #: Changes with every move, so that entries in heaps can tell that they are out of date.
        self.stamp = stamp
        self.status = StageStatus.READY
        self.attempt = 0
        self.epoch = 0
        self.settled_epoch: int | None = None
        self.worker: str | None = None
        self.lease_until: datetime | None = None
        self.due_at: datetime | None = None
        self.give_up_at: datetime | None = None
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.state: Payload | None = None
        self.output: Payload | None = None
        self.failure: Failure | None = None
        self.metrics: Mapping[str, float] = {}
        self.superseded = False

    def saved(self) -> tuple[Any, ...]:
        """Return everything that moves, for `restore`."""
        return (
            self.stamp,
            self.status,
            self.attempt,
            self.epoch,
            self.settled_epoch,
            self.worker,
            self.lease_until,
            self.due_at,
            self.give_up_at,
            self.started_at,
            self.finished_at,
            self.state,
            self.output,
            self.failure,
            self.metrics,
            self.superseded,
        )

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Put back what `saved` returned."""
        (
            self.stamp,
            self.status,
            self.attempt,
            self.epoch,
            self.settled_epoch,
            self.worker,
            self.lease_until,
            self.due_at,
            self.give_up_at,
            self.started_at,
            self.finished_at,
            self.state,
            self.output,
            self.failure,
            self.metrics,
            self.superseded,
        ) = saved

    def lease(self, *, overdue: bool) -> Lease:
        """Return the lease that was just granted on this job."""
        assert self.worker is not None, "a leased job has a worker"
        return Lease(
            key=self.key,
            epoch=self.epoch,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            worker=self.worker,
            queue=self.queue,
            status=self.status,
            run=self.run.header,
            state=self.state,
            overdue=overdue,
        )

    def entity(self) -> StageInstance:
        """Return the instance as callers see it."""
        return StageInstance(
            key=self.key,
            status=self.status,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            epoch=self.epoch,
            worker=self.worker,
            output=self.output,
            failure=self.failure,
            due_at=self.due_at,
            lease_until=self.lease_until,
            started_at=self.started_at,
            finished_at=self.finished_at,
            metrics=dict(self.metrics),
            superseded=self.superseded,
        )


class RunRow:
    """A run with everything that belongs to it."""

    __slots__ = (
        "annotations",
        "artifacts",
        "created_at",
        "events",
        "failure",
        "finished_at",
        "gates",
        "generation",
        "header",
        "idempotency_key",
        "jobs",
        "logs",
        "output_of",
        "records",
        "started_at",
        "status",
        "timers",
        "version",
        "visible",
    )

    def __init__(self, new: NewRun, *, now: datetime) -> None:
        self.header = new.header
        self.idempotency_key = new.idempotency_key
        self.status = RunStatus.PENDING
        self.version = 0
        self.generation = 1
        self.output_of: tuple[str, ...] = ()
        self.failure: Failure | None = None
        self.created_at = now
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.events: list[EventRow] = []
        self.jobs: dict[StageKey, InstanceRow] = {}
        self.records: dict[StageKey, InstanceRow] = {}
        #: Completed records that no rerun superseded, by stage id.
        self.visible: dict[str, InstanceRow] = {}
        #: Arrivals so far by (generation, gate).
        self.gates: dict[tuple[int, str], int] = {}
        self.timers: dict[str, Timer] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.annotations: list[Annotation] = []
        self.logs: list[NewLog] = []

    def move(self) -> tuple[Any, ...]:
        """Return everything of the run itself that a change-set moves, for `move_back`."""
        return (
            self.status,
            self.version,
            self.generation,
            self.output_of,
            self.failure,
            self.started_at,
            self.finished_at,
        )

    def move_back(self, moved: tuple[Any, ...]) -> None:
        """Put back what `move` returned."""
        (
            self.status,
            self.version,
            self.generation,
            self.output_of,
            self.failure,
            self.started_at,
            self.finished_at,
        ) = moved

    def entity(self) -> Run:
        """Return the run as callers see it."""
        return Run(
            header=self.header,
            status=self.status,
            version=self.version,
            generation=self.generation,
            events=len(self.events),
            output_of=self.output_of,
            failure=self.failure,
            idempotency_key=self.idempotency_key,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )

    def event(self, number: int) -> Event:
        """Return the event of that number."""
        kind, at, key, data = self.events[number - 1]
        return Event(run_id=self.header.id, number=number, type=kind, at=at, key=key, data=owned(data))

    def log_lines(self, limit: int) -> list[LogLine]:
        """Return the newest *limit* log lines, oldest first."""
        return [
            LogLine(
                key=line.key,
                attempt=line.attempt,
                level=line.level,
                message=line.message,
                data=owned(line.data),
                at=line.at,
            )
            for line in self.logs[-limit:]
        ]


def owned(value: Any) -> Any:
    """Return a copy of a JSON value that shares nothing mutable with it."""
    if isinstance(value, Mapping):
        return {name: owned(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [owned(member) for member in value]
    return value
