"""The mutable rows of the memory store and how they become the frozen entities that callers see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from holdfast.change import NewJob, NewRun
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.events import Event, EventType
from holdfast.ports.queries import Annotation, LogLine
from holdfast_adapters.memory.agenda import Stamped

#: An event as it is kept: its number is its place in the run's list.
EventRow = tuple[EventType, datetime, StageKey | None, Any]
#: A stage instance within its run: stage, generation, item. Unlike a StageKey it is hashed without a Python call.
Place = tuple[str, int, int]

_NO_METRICS: Final[Mapping[str, float]] = {}
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def place(key: StageKey) -> Place:
    """Return the place of the stage instance within its run."""
    return (key.stage_id, key.generation, key.item)


def owned(value: Any) -> Any:
    """Return a copy of a JSON value that shares nothing mutable with it.

    Raises:
        TypeError: If it is no JSON value; a database could not store it either.
    """
    if type(value) in _PLAIN:
        return value
    # Nearly all data of events are flat dicts, and asking whether something is a Mapping is slow.
    if type(value) is dict and _is_flat(cast("dict[object, object]", value)):
        return value.copy()
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {_name(name): owned(member) for name, member in members.items()}
    if isinstance(value, (list, tuple)):
        return [owned(member) for member in cast("Sequence[object]", value)]
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{value!r} is no JSON value")


def _is_flat(value: dict[object, object]) -> bool:
    for name, member in value.items():  # noqa: SIM110 - all() with its generator takes twice as long
        if type(member) not in _PLAIN or type(name) is not str:
            return False
    return True


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    raise TypeError(f"{name!r} is no name of a JSON member")


class TimerRow(Stamped):
    """A timer that is set."""

    __slots__ = ("timer",)

    def __init__(self, timer: Timer, *, stamp: int) -> None:
        super().__init__(stamp)
        self.timer = timer


class InstanceRow(Stamped):
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
        "place",
        "priority",
        "queue",
        "run",
        "settled_epoch",
        "started_at",
        "state",
        "status",
        "superseded",
        "worker",
    )

    def __init__(self, job: NewJob, run: RunRow, *, at: Place, stamp: int) -> None:
        # Rows are made for every stage of every run: the call of a base class would be felt.
        self.stamp = stamp
        self.key = job.key
        self.place = at
        self.run = run
        self.queue = job.queue
        self.priority = job.priority
        self.max_attempts = job.max_attempts
        self.status = StageStatus.READY
        self.attempt = self.epoch = 0
        #: The newest epoch under which the holder of the lease settled it; 0 for none.
        self.settled_epoch = 0
        self.worker: str | None = None
        self.lease_until: datetime | None = None
        self.due_at: datetime | None = None
        self.give_up_at: datetime | None = None
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.state: Payload | None = None
        self.output: Payload | None = None
        self.failure: Failure | None = None
        self.metrics = _NO_METRICS
        self.superseded = False

    def saved(self) -> tuple[Any, ...]:
        """Return everything that moves, as the arguments of `restore`."""
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

    def restore(self, *saved: Any) -> None:
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

    def expired_lease(self) -> ExpiredLease:
        """Return the lease on this job, which is past its end."""
        assert self.worker is not None, "a leased job has a worker"
        return ExpiredLease(
            key=self.key,
            epoch=self.epoch,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            worker=self.worker,
            status=self.status,
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


class RunRow(Stamped):
    """A run with everything that belongs to it."""

    __slots__ = (
        "annotations",
        "artifacts",
        "checkpoints",
        "created_at",
        "events",
        "failure",
        "finished_at",
        "gates",
        "generation",
        "header",
        "idempotency_key",
        "instances",
        "jobs",
        "logs",
        "output_of",
        "outputs",
        "started_at",
        "status",
        "timers",
        "version",
    )

    def __init__(self, new: NewRun, *, now: datetime, stamp: int) -> None:
        super().__init__(stamp)
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
        #: Every stage instance there ever was.
        self.instances: dict[Place, InstanceRow] = {}
        #: Those of them that are live.
        self.jobs: dict[Place, InstanceRow] = {}
        #: The completed ones with an output that no rerun superseded, by stage id.
        self.outputs: dict[str, InstanceRow] = {}
        #: Arrivals so far and arity, by generation and gate; an opened gate stays, so that it opens once.
        self.gates: dict[tuple[int, str], tuple[int, int]] = {}
        self.timers: dict[str, TimerRow] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.checkpoints: dict[tuple[StageKey, str], Payload] = {}
        self.annotations: list[Annotation] = []
        self.logs: list[LogLine] = []

    def saved(self) -> tuple[Any, ...]:
        """Return everything of the run itself that moves, as the arguments of `restore`."""
        return (
            self.stamp,
            self.status,
            self.version,
            self.generation,
            self.output_of,
            self.failure,
            self.started_at,
            self.finished_at,
            len(self.events),
        )

    def restore(self, *saved: Any) -> None:
        """Put back what `saved` returned and forget the events told since."""
        (
            self.stamp,
            self.status,
            self.version,
            self.generation,
            self.output_of,
            self.failure,
            self.started_at,
            self.finished_at,
            told,
        ) = saved
        del self.events[told:]

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

    def events_after(self, position: int, *, limit: int) -> list[Event]:
        """Return at most *limit* events with numbers above *position*."""
        run_id = self.header.id
        return [
            Event(run_id=run_id, number=number, type=kind, at=at, key=key, data=owned(data))
            for number, (kind, at, key, data) in enumerate(self.events[position : position + limit], position + 1)
        ]
