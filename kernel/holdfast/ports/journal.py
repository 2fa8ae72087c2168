"""The port that applies change-sets and finds the outcome of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast.change import Change, Committed, Refusal
from holdfast.entities.operation import OperationRecord
from holdfast.entities.stage import StageKey


class Journal(Protocol):
    """Writes decisions: each change-set as a whole or not at all."""

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Apply each of *changes* atomically and durably, in order; return one outcome for each, in order.

        A refused change-set writes nothing and does not disturb the others, which may share its transaction.
        A later change-set sees what an earlier one wrote. Checks come in this order:

        1. An operation record with the same (tenant, scope, key) exists: `Duplicate` with that record.
        2. *create* is given and the run exists: `StaleVersion`. No *create* and no such run: `RunNotFound`.
        3. The fenced job is gone, not leased, or has another epoch (or is not past its end, for an *expired*
           fence): `LeaseLost`.
        4. The run's status is not in *require.statuses*, or its version is not *require.version*: `StaleVersion`.
        5. *fired* names a timer that is gone or not yet due: `StaleVersion`.
        6. An answer's wait is not there or not OPEN: `StaleVersion`.
        7. A message's name has a message already, or a wait that is not CLOSED: `StaleVersion`.
        8. The reservation's key is held by another stage instance, or has a result: `Held` with it. The holder
           itself, whatever its epoch and generation of the same run, may take a key again that has no result.
        9. A run with a *singleton* key would be created without queueing up while another of its key is live, or
           would be let go or brought back from its end while another of its key is live and not held:
           `SingletonTaken` with that run.

        A store that is shared with transactions of others may refuse one of several change-sets by `RunLocked` when its
        run is part of such a transaction, so that its neighbours need not wait for the end of that.

        When all hold but the database refuses one of the *statements*, or the store has no SQL: `StatementFailed`.

        When all hold, in one transaction: the fenced job is settled; *fired* is consumed; *supersede* applies (its
        records become invisible; with *completed* the RESOLVED and EXPIRED waits of its stages become CLOSED); each
        answer ends its wait, and the WAITING job it belongs to becomes READY and due; messages and tokens are kept;
        *patch* is merged into the run's state by `holdfast.gates.merged`; *step* applies (events, skips, gates,
        items, jobs, timers, run move); then arrivals are handed to `holdfast.gates.arrive` one after the other, in the
        order of `holdfast.gates.next_arrival`, and the step that follows from one applies at once, its own arrivals
        coming last; once a step has closed the run the remaining ones bring nothing about. Events are appended in that
        order, numbered without gaps. Artifacts (the newest of a name wins), checkpoints (the first of a stage
        instance's name stands), the reservation, annotations, logs and operation records are stored; the run's
        version rises by exactly 1. Last, the *statements* are executed in order: all of them exactly when the
        change-set stands, and no row of them otherwise.

        A wait that is opened (by a new job or by `Park`) takes a message of its name if there is one: it is RESOLVED
        with the message's payload and actor, the message is gone, and the store appends ``stage.resumed`` with
        ``{"name": …, "early": true}`` behind the events of the step. `Park` appends the same for a wait that the
        instance has and that is not OPEN any more. A new job with waits none of which
        was answered so is WAITING; any other is READY, or RUNNING when granted. A wait that the instance has already
        keeps its status, but for one that is opened *anew*.

        A RUNNING or WAITING run is WAITING exactly when it has live jobs and all of them are WAITING; the store
        moves it to and fro by itself. Jobs of a PAUSED run are never due: those that are due, or come to be,
        are due again when it is not PAUSED any more, and grants of a change-set that leaves it PAUSED are not given
        (`Committed.withheld`): behind everything else the store appends ``stage.released`` for each such job. So it
        is with grants on jobs of a queue that has limits: those are handed out by `Work.lease` alone.

        Of the runs of one tenant, workflow and *singleton* key at most one is live and not held. A new one that
        *queues_up* is held while any other of its key is live. When a run of the key ends and leaves no live one that
        is not held, the oldest of the held ones that has no timer of kind RUN_START gets one, ``start``, due at once;
        that does not count as a change of it.

        A run that closes (terminal, or COMPENSATING) loses its live jobs, which become CANCELLED records, its timers
        and its gates; its OPEN waits become CLOSED; keys that its instances hold without a result are free.
        What the closing change-set adds in the same step is closed too, but for a COMPENSATING run the jobs and
        timers that its own step makes stay. An instance that ends closes its OPEN waits; one that ends otherwise than
        COMPLETED frees its key. A run that ends and has a live parent sets there, due at once, the timer
        ``child:<run id>`` of kind CHILD_ENDED; one that FAILED or was CANCELLED sets in each of its live children, due
        at once, the timer ``parent`` of kind PARENT_ENDED. Neither counts as a change of the other run.

        Raises:
            StoreUnavailable: If the store cannot be reached or refuses; nothing of any change-set stands.
            CommitUnknown: If it cannot be told whether the change-sets stand; look the outcome up.
        """
        ...

    async def find_operation(self, *, tenant: str, scope: str, key: str) -> OperationRecord | None:
        """Return the stored outcome of an operation, or None if it did not happen."""
        ...

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Return whether a change-set under the lease *epoch* of the job settled it.

        False while the lease stands, and when the lease ended without a settlement by its holder as far as the
        store can tell.
        """
        ...
