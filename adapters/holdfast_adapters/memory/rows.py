"""The mutable rows of the memory store and how they become the frozen entities that callers see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from holdfast.change import NewJob, NewRun
from holdfast.entities.keyed import KeyScope
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.entities.wait import Message, Wait
from holdfast.events import Event, EventType
from holdfast.gates import GateState
from holdfast.ports.queries import Annotation, LogLine
from holdfast_adapters.memory.agenda import Stamped
from holdfast_adapters.memory.owning import owned

#: An event as it is kept: its number is its place in the run's list.
EventRow = tuple[EventType, datetime, StageKey | None, Any]
#: A stage instance within its run: stage, generation, turn, item. Unlike a StageKey it is hashed without a Python call.
Place = tuple[str, int, int, int]
#: Where an output is looked for: stage and item, or the stage alone for item 0, which most are.
Slot = str | tuple[str, int]
#: A wait within its run: whose it is, and its name.
WaitPlace = tuple[Place, str]

_NO_METRICS: Final[Mapping[str, float]] = {}
_NO_WAITS: Final[dict[str, int]] = {}
_NO_KEYS: Final[dict[KeyScope, None]] = {}


def place(key: StageKey) -> Place:
    """Return the place of the stage instance within its run."""
    return (key.stage_id, key.generation, key.turn, key.item)


def slot(stage_id: str, item: int) -> Slot:
    """Return where the output of the stage for that item is looked for."""
    return (stage_id, item) if item else stage_id


class TimerRow(Stamped):
    """A timer that is set."""

    __slots__ = ("timer",)

    def __init__(self, timer: Timer, *, stamp: int) -> None:
        super().__init__(stamp)
        self.timer = timer


class TokenRow(NamedTuple):
    """The right to answer a wait."""

    run_id: str
    name: str
    expires_at: datetime


class InstanceRow(Stamped):
    """A stage instance: a live job first, a record once it is done."""

    __slots__ = (
        "attempt",
        "depth",
        "due_at",
        "edge",
        "epoch",
        "failure",
        "finished_at",
        "give_up_at",
        "guarded",
        "key",
        "keys",
        "lease_until",
        "lost",
        "max_attempts",
        "metrics",
        "origin",
        "output",
        "place",
        "priority",
        "queue",
        "run",
        "started_at",
        "state",
        "status",
        "superseded",
        "via",
        "waits",
        "weight",
        "worker",
    )

    def __init__(self, job: NewJob, run: RunRow, *, at: Place) -> None:
        # Rows are made for every stage of every run: the call of a base class would be felt.
        self.stamp = 0
        self.key = job.key
        self.place = at
        self.run = run
        self.queue = job.queue
        self.priority = job.priority
        self.max_attempts = job.max_attempts
        self.via = job.via
        self.depth = job.depth
        self.origin = job.origin
        self.guarded = job.guarded
        self.weight = job.weight
        self.status = StageStatus.READY
        self.attempt = self.epoch = 0
        #: The newest epochs whose holders did not settle it.
        self.lost: tuple[int, ...] = ()
        self.worker: str | None = None
        self.lease_until: datetime | None = None
        self.due_at: datetime | None = None
        self.give_up_at: datetime | None = None
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.state: Payload | None = None
        self.output: Payload | None = None
        self.failure: Failure | None = None
        self.edge: str | None = None
        self.metrics = _NO_METRICS
        self.superseded = False
        #: Its waits by name, each with its number in the order of all waits of the run.
        self.waits = _NO_WAITS
        #: The keys it took; which of them it still holds, the run tells.
        self.keys = _NO_KEYS

    def saved(self) -> tuple[Any, ...]:
        """Return everything that moves, as the arguments of `restore`."""
        return (
            self.stamp,
            self.status,
            self.attempt,
            self.epoch,
            self.lost,
            self.worker,
            self.lease_until,
            self.due_at,
            self.give_up_at,
            self.started_at,
            self.finished_at,
            self.state,
            self.output,
            self.failure,
            self.edge,
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
            self.lost,
            self.worker,
            self.lease_until,
            self.due_at,
            self.give_up_at,
            self.started_at,
            self.finished_at,
            self.state,
            self.output,
            self.failure,
            self.edge,
            self.metrics,
            self.superseded,
        ) = saved

    def own_waits(self) -> dict[str, int]:
        """Return the names of its waits, to be added to."""
        if self.waits is _NO_WAITS:
            self.waits = {}
        return self.waits

    def own_keys(self) -> dict[KeyScope, None]:
        """Return the keys it took, to be added to."""
        if self.keys is _NO_KEYS:
            self.keys = {}
        return self.keys

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
            via=self.via,
            depth=self.depth,
            origin=self.origin,
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
            guarded=self.guarded,
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
            edge=self.edge,
            via=self.via,
            depth=self.depth,
            origin=self.origin,
        )


def is_due(job: InstanceRow, now: datetime) -> bool:
    """Return whether a job is READY and due."""
    if job.status is not StageStatus.READY or job.run.status is RunStatus.PAUSED:
        return False
    return job.due_at is not None and job.due_at <= now


class RunRow(Stamped):
    """A run with everything that belongs to it."""

    __slots__ = (
        "annotations",
        "artifacts",
        "busy",
        "checkpoints",
        "created_at",
        "events",
        "failure",
        "finished_at",
        "gates",
        "generation",
        "header",
        "held",
        "idempotency_key",
        "instances",
        "items",
        "jobs",
        "keys",
        "logs",
        "messages",
        "named",
        "open_waits",
        "output_of",
        "outputs",
        "singleton",
        "started_at",
        "state",
        "status",
        "timers",
        "tops",
        "version",
        "waits",
    )

    def __init__(self, new: NewRun, *, held: bool, now: datetime, stamp: int) -> None:
        # One that is held does not stand in the agenda of pending runs.
        super().__init__(0 if held else stamp)
        self.header = new.header
        self.held = held
        self.singleton = new.singleton
        self.state: Any = owned(new.state)
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
        #: How many of those are not WAITING.
        self.busy = 0
        #: The newest completed ones with an output that no rerun superseded.
        self.outputs: dict[Slot, InstanceRow] = {}
        #: By generation, turn and gate; one that is done stays, so that nothing follows from it twice.
        self.gates: dict[tuple[int, int, str], GateState] = {}
        #: Inputs of the instances of maps.
        self.items: dict[Place, Payload] = {}
        #: The highest item of each stage, generation and turn that has one above 0.
        self.tops: dict[tuple[str, int, int], int] = {}
        #: Every wait there ever was, in the order in which they were opened.
        self.waits: dict[WaitPlace, Wait] = {}
        self.open_waits: dict[WaitPlace, None] = {}
        #: Which waits of a name are not CLOSED, each with its number in the order of all waits.
        self.named: dict[str, dict[Place, int]] = {}
        self.messages: dict[str, Message] = {}
        #: The keys that instances hold without a result.
        self.keys: dict[KeyScope, StageKey] = {}
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
            self.held,
            self.state,
            self.busy,
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
            self.held,
            self.state,
            self.busy,
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
            held=self.held,
            singleton=self.singleton,
        )

    def events_after(self, position: int, *, limit: int) -> list[Event]:
        """Return at most *limit* events with numbers above *position*."""
        run_id = self.header.id
        return [
            Event(run_id=run_id, number=number, type=kind, at=at, key=key, data=owned(data))
            for number, (kind, at, key, data) in enumerate(self.events[position : position + limit], position + 1)
        ]
