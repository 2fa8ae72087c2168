"""The change-set: everything one decision writes, as data, applied by `Journal.commit` as a whole or not at all.

A change-set concerns one run. It says what it expects (`require`, `fence`, `fired`), what becomes of the fenced
job (`settle`), what follows at once (`step`) and what follows when a gate opens (`arrivals`). Durations, never
instants, stand in it: the store adds them to its own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from holdfast.entities.operation import OperationRecord
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import TERMINAL_RUN, Failure, RunHeader, RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.errors import Conflict, Rejected
from holdfast.events import NewEvent

ZERO: Final = timedelta()


@attrs.frozen(kw_only=True)
class NewRun:
    """A run to be inserted, PENDING, in generation 1 and version 1."""

    header: RunHeader
    idempotency_key: str | None = None


@attrs.frozen(kw_only=True)
class Require:
    """What must be true of the run for the change-set to apply."""

    statuses: frozenset[RunStatus]
    #: The exact run version, for decisions that depend on the whole snapshot.
    version: int | None = None


RUNNING: Final = Require(statuses=frozenset({RunStatus.RUNNING}))
PENDING: Final = Require(statuses=frozenset({RunStatus.PENDING}))


@attrs.frozen(kw_only=True)
class Fence:
    """The lease under which the change-set is written: the job must exist, be leased, and have this epoch."""

    key: StageKey
    epoch: int
    #: For the reaper alone: the lease must also be past its end by the store's clock.
    expired: bool = False


@attrs.frozen(kw_only=True)
class Grant:
    """A lease given together with the job it is for, so that no second commit is needed to claim it."""

    worker: str
    ttl: timedelta


@attrs.frozen(kw_only=True)
class NewJob:
    """A stage instance that becomes live: READY after *delay*, or RUNNING with epoch 1 and attempt 1 when granted."""

    key: StageKey
    workflow_id: str
    workflow_version: str
    queue: str
    priority: int
    max_attempts: int
    delay: timedelta = ZERO
    grant: Grant | None = None


@attrs.frozen(kw_only=True)
class Finish:
    """The fenced job ends: it leaves the live jobs and becomes a record with this status."""

    status: StageStatus
    output: Payload | None = None
    failure: Failure | None = None
    metrics: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Requeue:
    """The fenced job loses its lease and is due again after *delay*; a RUNNING one becomes READY.

    A SUSPENDED one stays SUSPENDED, to be polled again after *delay* or at its give-up instant if that comes first
    and lies ahead. The epoch rises, so that the settled lease can be told from a live one.
    """

    delay: timedelta
    #: The attempts that count as used from now on: the lease's own to keep it, one less to give it back, 0 to start
    #: again because the poll went well.
    attempt: int
    failure: Failure | None = None


@attrs.frozen(kw_only=True)
class Suspend:
    """The fenced job becomes SUSPENDED with this state, is polled after *delay* and given up after *give_up_after*.

    Its attempts start again from 0: they now count failed polls in a row. The epoch rises as in `Requeue`.
    """

    state: Payload
    delay: timedelta
    give_up_after: timedelta


@attrs.frozen(kw_only=True)
class RunPatch:
    """A move of the run; entering a terminal status closes everything that is still open.

    The store sets `started_at` when a run becomes RUNNING and `finished_at` when it becomes terminal, and clears
    `finished_at`, output and failure when a rerun makes it RUNNING again.
    """

    status: RunStatus
    output_of: tuple[str, ...] = ()
    failure: Failure | None = None
    #: The new generation, set by a rerun alone.
    generation: int | None = None

    @property
    def closes(self) -> bool:
        """Whether the run ends: its live jobs become CANCELLED records, its timers and gates vanish."""
        return self.status in TERMINAL_RUN


@attrs.frozen(kw_only=True)
class NewTimer:
    """A timer to be set, due after *delay*; it replaces a timer of the same id of the same run."""

    id: str
    kind: TimerKind
    delay: timedelta


@attrs.frozen(kw_only=True)
class Step:
    """What follows from a decision: a move of the run, new jobs, new timers, and the facts to tell."""

    run: RunPatch | None = None
    jobs: tuple[NewJob, ...] = ()
    timers: tuple[NewTimer, ...] = ()
    events: tuple[NewEvent, ...] = ()


NOTHING: Final = Step()


@attrs.frozen(kw_only=True)
class Arrival:
    """One source of a gate is done; the arrival that brings the count to *arity* opens it and *step* follows.

    Counting makes completions commute: parallel branches never need each other's version of the run.
    """

    gate: str
    generation: int
    arity: int
    step: Step


@attrs.frozen(kw_only=True)
class NewAnnotation:
    """A note of who and why on a run, or on a stage instance when *key* is given."""

    name: str
    value: Any
    key: StageKey | None = None
    attempt: int | None = None
    actor: str | None = None


@attrs.frozen(kw_only=True)
class NewCheckpoint:
    """The result of one step inside a stage instance, kept so that a later attempt need not do the step again."""

    key: StageKey
    #: Unique within the stage instance; the first result of a name stands.
    name: str
    result: Payload


@attrs.frozen(kw_only=True)
class NewLog:
    """One log line of a stage instance."""

    key: StageKey
    attempt: int
    level: str
    message: str
    data: Mapping[str, Any]
    #: By the host's clock: log lines are told apart, never ordered against the store.
    at: datetime


@attrs.frozen(kw_only=True)
class Change:
    """Everything one decision writes; see the module docstring."""

    run_id: str
    create: NewRun | None = None
    #: Ignored when the change-set creates the run.
    require: Require = RUNNING
    fence: Fence | None = None
    settle: Finish | Requeue | Suspend | None = None
    #: Id of the run's timer that this change-set acts on and consumes.
    fired: str | None = None
    step: Step = NOTHING
    arrivals: tuple[Arrival, ...] = ()
    #: Stages whose records are from now on invisible to the run, because a rerun does them again.
    supersede: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    checkpoints: tuple[NewCheckpoint, ...] = ()
    annotations: tuple[NewAnnotation, ...] = ()
    logs: tuple[NewLog, ...] = ()
    operations: tuple[OperationRecord, ...] = ()


@attrs.frozen(kw_only=True)
class Committed:
    """The change-set stands."""

    #: Version of the run after the change-set.
    version: int
    #: Ids of the gates that this change-set opened.
    opened: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Duplicate:
    """Nothing was written, because an operation record with that identity exists already."""

    record: OperationRecord


#: Why nothing of a change-set was written: an error to raise, or the record of the earlier operation.
Refusal = Conflict | Rejected | Duplicate
