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

        When all hold, in one transaction: the fenced job is settled; each arrival counts once at its gate, and the
        one that completes the arity opens it; *step* and the steps of opened gates apply (jobs, timers, run move);
        events are appended, those of *step* first, numbered without gaps; artifacts (the newest of a name wins),
        checkpoints (the first of a stage instance's name stands), annotations, logs and operation records are
        stored; the run's version rises by exactly 1.

        A run that becomes terminal loses its live jobs, which become CANCELLED records, its timers and its gates.
        A rerun (a run move with a generation) marks the completed, failed and cancelled records of *supersede*.

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
