"""A stage instance: the thing that executes, as a live job while it has work left and as a record once it is done."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure, RunHeader


class StageStatus(enum.Enum):
    """Where a stage instance stands."""

    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    @property
    def is_terminal(self) -> bool:
        """Whether the instance can never move again."""
        return self in TERMINAL_STAGE


TERMINAL_STAGE: Final = frozenset(
    {StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED}
)

#: Every legal move of a stage instance; terminal statuses absorb, a rerun makes new instances in a new generation.
STAGE_TRANSITIONS: Final[Mapping[StageStatus, frozenset[StageStatus]]] = {
    StageStatus.PENDING: frozenset({StageStatus.READY, StageStatus.SKIPPED, StageStatus.CANCELLED}),
    StageStatus.READY: frozenset({StageStatus.RUNNING, StageStatus.CANCELLED}),
    StageStatus.RUNNING: frozenset(
        {
            StageStatus.READY,
            StageStatus.SUSPENDED,
            StageStatus.WAITING,
            StageStatus.COMPLETED,
            StageStatus.FAILED,
            StageStatus.CANCELLED,
        }
    ),
    StageStatus.SUSPENDED: frozenset({StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED}),
    StageStatus.WAITING: frozenset(
        {StageStatus.READY, StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED}
    ),
    StageStatus.COMPLETED: frozenset(),
    StageStatus.FAILED: frozenset(),
    StageStatus.CANCELLED: frozenset(),
    StageStatus.SKIPPED: frozenset(),
}


# The hash is kept, because a key is looked up in many mappings while its job executes.
@attrs.frozen(kw_only=True, order=True, cache_hash=True)
class StageKey:
    """The identity of a stage instance."""

    run_id: str
    stage_id: str
    #: Rises with every rerun of the run, from 1.
    generation: int = 1
    #: Which round of the loops around the stage this is, from 0; see `holdfast.entities.graph`.
    turn: int = 0
    #: The index within a map; 0 outside of maps.
    item: int = 0

    def __str__(self) -> str:
        generation = f" generation {self.generation}" if self.generation > 1 else ""
        turn = f" turn {self.turn}" if self.turn else ""
        item = f" item {self.item}" if self.item else ""
        return f"{self.stage_id}{generation}{turn}{item} of run {self.run_id}"


@attrs.frozen(kw_only=True)
class Lease:
    """The right to execute one job until an instant of the store's clock; `epoch` is its fencing token."""

    key: StageKey
    #: Rises on every grant; every write of the attempt carries it.
    epoch: int
    #: Which try this is, from 1, counted durably when the lease was granted.
    attempt: int
    max_attempts: int
    worker: str
    queue: str
    #: RUNNING to execute the stage, SUSPENDED to poll it.
    status: StageStatus
    run: RunHeader
    #: The reference that a suspended stage keeps; None while it was never suspended.
    state: Payload | None = None
    #: Whether a suspended stage is past its give-up instant.
    overdue: bool = False
    #: The stages whose taken edges led here, in the order in which they arrived; empty for an entry stage.
    via: tuple[str, ...] = ()
    #: How many stages stand before this one on the path that led here, plus 1; bounds loops.
    depth: int = 1
    #: The generation under whose name its effects go: its own, or that of the instance that it retries.
    origin: int = 1


@attrs.frozen(kw_only=True)
class ExpiredLease:
    """A lease that is past its end, with what the reaper needs to decide."""

    key: StageKey
    epoch: int
    attempt: int
    max_attempts: int
    worker: str
    status: StageStatus
    #: Whether more follows from the failure of this job than the end of its run; only its workflow's definition
    #: tells what.
    guarded: bool = False


@attrs.frozen(kw_only=True)
class StageInstance:
    """What the store knows of one stage instance, live or done, for deciding and for people."""

    key: StageKey
    status: StageStatus
    attempt: int
    max_attempts: int
    epoch: int
    #: The worker that holds the lease, or held the last one.
    worker: str | None
    output: Payload | None
    #: Of the last failed attempt while live; of the instance when FAILED.
    failure: Failure | None
    #: When a READY instance may be leased, or a SUSPENDED one is polled; None otherwise.
    due_at: datetime | None
    lease_until: datetime | None
    #: When the last attempt began.
    started_at: datetime | None
    finished_at: datetime | None
    metrics: Mapping[str, float]
    #: Whether a later rerun replaced the instance; its output is then invisible to the run.
    superseded: bool
    #: The id of the edge that was taken behind a COMPLETED instance; None when there was no choice, empty when none
    #: could be chosen.
    edge: str | None = None
    via: tuple[str, ...] = ()
    depth: int = 1
    origin: int = 1
