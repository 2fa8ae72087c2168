"""The change-set: everything one decision writes, as data, applied by `Journal.commit` as a whole or not at all.

A change-set concerns one run. It says what it expects (`require`, `fence`, `fired`), what becomes of the fenced
job (`settle`), what follows at once (`step`) and what follows once a gate has heard from all its edges (`rules`).
Durations, never instants, stand in it: the store adds them to its own clock.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.entities.keyed import KeyedResult
from holdfast.entities.operation import OperationRecord
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import ACTIVE_RUN, TERMINAL_RUN, Failure, RunHeader, RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import WaitKind
from holdfast.errors import Conflict, Rejected
from holdfast.events import NewEvent
from holdfast.traces import (
    Answer,
    NewAnnotation,
    NewCheckpoint,
    NewLog,
    NewMessage,
    NewToken,
    Reservation,
    Statement,
    Supersede,
)

ZERO: Final = timedelta()


@attrs.frozen(kw_only=True)
class NewRun:
    """A run to be inserted, PENDING, in generation 1 and version 1."""

    header: RunHeader
    idempotency_key: str | None = None
    #: Whether the run may not be admitted yet; a timer lets it go.
    held: bool = False
    #: JSON values; the state that patches are merged into.
    state: Mapping[str, Any] = attrs.field(factory=dict)
    #: Only one live run of the workflow with this key goes on at a time, within the tenant; None for a run that may go
    #: on beside any other.
    singleton: str | None = None
    #: Whether the run is held until its turn comes while another one has the key; refused otherwise.
    queues_up: bool = False


@attrs.frozen(kw_only=True)
class Require:
    """What must be true of the run for the change-set to apply."""

    statuses: frozenset[RunStatus]
    #: The exact run version, for decisions that depend on the whole snapshot.
    version: int | None = None


ACTIVE: Final = Require(statuses=ACTIVE_RUN)
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
class NewWait:
    """A wait to be opened for a stage instance; one of the same name that the instance has already stays as it is.

    Unless it is to be opened anew: then an answered one of the name is OPEN again, opened now, without its payload.
    """

    name: str
    kind: WaitKind
    #: None to wait for ever. The kernel sets the timer that ends the wait beside it.
    timeout: timedelta | None = None
    reason: str = ""
    anew: bool = False


@attrs.frozen(kw_only=True)
class NewJob:
    """A stage instance that becomes live.

    READY after *delay*; RUNNING with epoch 1 and attempt 1 when granted; WAITING when it begins with *waits*, none of
    which is answered by a message that is there already.
    """

    key: StageKey
    workflow_id: str
    workflow_version: str
    queue: str
    priority: int
    max_attempts: int
    delay: timedelta = ZERO
    grant: Grant | None = None
    waits: tuple[NewWait, ...] = ()
    via: tuple[str, ...] = ()
    depth: int = 1
    #: The generation under whose name the effects of the instance go: its own, or that of the instance it retries.
    origin: int = 1
    guarded: bool = False
    #: How many tokens of its queue's rate each attempt takes.
    weight: int = 1


@attrs.frozen(kw_only=True)
class Finish:
    """The fenced job ends: it leaves the live jobs and becomes a record with this status."""

    status: StageStatus
    output: Payload | None = None
    failure: Failure | None = None
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    #: The edge that was taken; None when there was no choice, empty when none could be chosen.
    edge: str | None = None


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
class Park:
    """The fenced job gives its worker back until one of *waits* is answered or reaches its limit.

    It becomes WAITING; or READY and due at once, when one of them is not OPEN any more or is answered by a message
    that is there already. Its attempts start again from 0, its failure is cleared, its epoch rises as in `Requeue`.
    """

    waits: tuple[NewWait, ...]


@attrs.frozen(kw_only=True)
class RunPatch:
    """A move of the run; entering a terminal status or COMPENSATING closes everything that is still open.

    The store sets `started_at` when a run leaves PENDING or a terminal status and `finished_at` when it becomes
    terminal, and clears `finished_at`, output and failure when it leaves a terminal status. PENDING for a PENDING run
    lets one go that was held.
    """

    status: RunStatus
    output_of: tuple[str, ...] = ()
    failure: Failure | None = None
    #: The new generation, set by a rerun or a retry alone.
    generation: int | None = None

    @property
    def ends(self) -> bool:
        """Whether the run ends."""
        return self.status in TERMINAL_RUN

    @property
    def closes(self) -> bool:
        """Whether live jobs become CANCELLED records, open waits CLOSED, and timers and gates vanish."""
        return self.ends or self.status is RunStatus.COMPENSATING


@attrs.frozen(kw_only=True)
class NewTimer:
    """A timer to be set, due after *delay*; it replaces a timer of the same id of the same run."""

    id: str
    kind: TimerKind
    delay: timedelta


@attrs.frozen(kw_only=True)
class NewGate:
    """A gate whose number of edges is known only at run time: the end of a map."""

    gate: str
    generation: int
    turn: int
    #: 0 for one that an earlier generation has opened: nothing follows from it any more.
    arity: int
    #: So many edges may fail without the gate failing.
    tolerate: int = 0


@attrs.frozen(kw_only=True)
class NewItems:
    """The inputs of the instances of a map, in order, stored apart so that each instance reads its own alone."""

    #: The first instance; the item counts up from its.
    key: StageKey
    payloads: tuple[Payload, ...]


class Resolution(enum.Enum):
    """How an edge into a gate is resolved."""

    TAKEN = "TAKEN"
    #: It will not be taken in this turn.
    SKIPPED = "SKIPPED"
    #: Its source failed, or lies behind something that did.
    FAILED = "FAILED"


@attrs.frozen(kw_only=True)
class Arrival:
    """One edge into a gate is resolved; `Change.rules` says what the gate makes of it.

    Counting makes completions commute: parallel branches never need each other's version of the run.
    """

    #: Id of a rule of the change-set.
    gate: str
    resolution: Resolution = Resolution.TAKEN
    #: The stage that the edge comes from; remembered in the order of arrival when TAKEN. None if nobody will ask.
    source: str | None = None


@attrs.frozen(kw_only=True)
class Step:
    """What follows from a decision: a move of the run, new jobs, new timers, arrivals, and the facts to tell."""

    run: RunPatch | None = None
    jobs: tuple[NewJob, ...] = ()
    #: Instances that will not execute; they become SKIPPED records.
    skips: tuple[StageKey, ...] = ()
    timers: tuple[NewTimer, ...] = ()
    #: Ids of timers that are set no more; those that are not there do not matter.
    cancels: tuple[str, ...] = ()
    gates: tuple[NewGate, ...] = ()
    items: NewItems | None = None
    events: tuple[NewEvent, ...] = ()
    #: Applied after everything else of the change-set, in order; what they bring about is applied at once, and its
    #: own arrivals come last. Those that are left when the run closes bring nothing about.
    arrivals: tuple[Arrival, ...] = ()


NOTHING: Final = Step()


@attrs.frozen(kw_only=True)
class Refill:
    """How a map goes on: the k-th edge that is resolved makes item ``window + k - 1`` live, if there is one."""

    window: int
    #: The job of whichever item it is.
    job: NewJob
    #: The event that tells of it.
    event: NewEvent


@attrs.frozen(kw_only=True)
class Rule:
    """What a gate makes of the edges that lead to it; `holdfast.gates.arrive` applies it."""

    #: Unique within the run, its generation and its turn.
    gate: str
    generation: int
    turn: int = 0
    #: How many edges lead to the gate; None for a gate that was made with its number.
    arity: int | None
    #: Opens as soon as so many were taken; None to wait until all are resolved.
    need: int | None = None
    #: So many edges may fail without the gate failing; that of the gate itself counts when it was made.
    tolerate: int = 0
    #: Follows when the gate opens; its jobs get the sources of the taken edges as `via`.
    opens: Step = NOTHING
    #: Follows when all edges are resolved and none of them was taken.
    skips: Step = NOTHING
    #: Follows when too many failed, or too few were taken.
    fails: Step = NOTHING
    refill: Refill | None = None


@attrs.frozen(kw_only=True)
class Change:
    """Everything one decision writes; see the module docstring."""

    run_id: str
    create: NewRun | None = None
    #: Ignored when the change-set creates the run.
    require: Require = ACTIVE
    fence: Fence | None = None
    settle: Finish | Requeue | Suspend | Park | None = None
    #: Id of the run's timer that this change-set acts on and consumes.
    fired: str | None = None
    step: Step = NOTHING
    #: The rules of all gates that an arrival of the change-set can reach, by id.
    rules: Mapping[str, Rule] = attrs.field(factory=dict)
    supersede: tuple[Supersede, ...] = ()
    answers: tuple[Answer, ...] = ()
    messages: tuple[NewMessage, ...] = ()
    tokens: tuple[NewToken, ...] = ()
    reservation: Reservation | None = None
    #: Merged into the run's state as a JSON merge patch (RFC 7396): None deletes.
    patch: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    checkpoints: tuple[NewCheckpoint, ...] = ()
    annotations: tuple[NewAnnotation, ...] = ()
    logs: tuple[NewLog, ...] = ()
    operations: tuple[OperationRecord, ...] = ()
    #: Executed in order with everything else, in the same transaction.
    statements: tuple[Statement, ...] = ()


@attrs.frozen(kw_only=True)
class Committed:
    """The change-set stands."""

    #: Version of the run after the change-set.
    version: int
    #: What its arrivals brought about, in the order in which it was applied; jobs as they were inserted.
    steps: tuple[Step, ...] = ()
    #: The queues of jobs that asked for a grant and got none, because the run is PAUSED or the queue has limits.
    withheld: frozenset[str] = frozenset()
    #: Whether the run is PAUSED.
    paused: bool = False


def withheld(steps: Iterable[Step], *, paused: bool, limited: Container[str]) -> frozenset[str]:
    """Return the queues of the jobs that ask for a grant and get none; see `Journal.commit`.

    Args:
        steps: What a change-set brought about.
        paused: Whether the run is PAUSED now.
        limited: The queues that have limits.
    """
    asked = {job.queue for step in steps for job in step.jobs if job.grant is not None}
    return frozenset(asked if paused else (queue for queue in asked if queue in limited))


@attrs.frozen(kw_only=True)
class Duplicate:
    """Nothing was written, because an operation record with that identity exists already."""

    record: OperationRecord


@attrs.frozen(kw_only=True)
class Held:
    """Nothing was written, because the key is held by another stage instance or its result is there already."""

    result: KeyedResult


#: Why nothing of a change-set was written: an error to raise, or what was found instead.
Refusal = Conflict | Rejected | Duplicate | Held
