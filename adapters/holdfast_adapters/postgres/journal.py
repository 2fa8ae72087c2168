"""Applies change-sets to Postgres and looks up the outcome of earlier ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from holdfast.change import Change, Committed, Refusal
from holdfast.entities.operation import OperationRecord
from holdfast.entities.stage import StageKey
from holdfast.errors import StatementFailed
from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.prepared import Prepared, job_key
from holdfast_adapters.postgres.statements import Statement


class PostgresJournal:
    """The Journal port on Postgres."""

    _access: Access

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Apply each change-set atomically and durably, in order, in one transaction with what else is waiting."""
        if any(change.statements for change in changes):
            return [await self._commit_alone(change) for change in changes]
        return await self._access.commit([Prepared(change) for change in changes])

    async def _commit_alone(self, change: Change) -> Committed | Refusal:
        """Apply the change-set in a transaction that nothing else shares, if it has statements of the application's."""
        prepared = Prepared(change)
        try:
            return (await (self._access.commit_alone if change.statements else self._access.commit)([prepared]))[0]
        except StatementFailed as refusal:
            return refusal

    _FIND_OPERATION: Final = Statement("""
        SELECT tenant, scope, key, command, fingerprint, result, run_id
        FROM holdfast.operation WHERE tenant = $1::text AND scope = $2::text AND key = $3::text""")

    async def find_operation(self, *, tenant: str, scope: str, key: str) -> OperationRecord | None:
        """Return the stored outcome of an operation."""
        (found,) = await self._access.read((self._FIND_OPERATION, (tenant, scope, key)))
        return rows.operation(found[0]) if found else None

    #: The second column says whether the instance is done.
    _FIND_EPOCHS: Final = Statement("""
        SELECT j.epoch, false, j.lost FROM holdfast.job j
        WHERE j.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND j.stage_id = $2::text
            AND j.generation = $3::integer AND j.turn = $4::integer AND j.item = $5::integer
        UNION ALL
        SELECT s.epoch, true, s.lost FROM holdfast.stage s
        WHERE s.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND s.stage_id = $2::text
            AND s.generation = $3::integer AND s.turn = $4::integer AND s.item = $5::integer""")

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Return whether the holder of that epoch settled the job."""
        (found,) = await self._access.read((self._FIND_EPOCHS, (key.run_id, *job_key(key))))
        if not found:
            return False
        newest, done, lost = found[0]
        # The newest epoch of a live job is its present lease, or what its last settlement made of it.
        over = newest if done else newest - 1
        return 1 <= epoch <= over and (lost is None or epoch not in json.loads(lost))
