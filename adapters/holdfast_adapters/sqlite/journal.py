"""Applies change-sets to SQLite and looks up the outcome of earlier ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from holdfast.change import Change, Committed, Refusal
from holdfast.entities.operation import OperationRecord
from holdfast.entities.stage import StageKey
from holdfast.errors import StatementFailed
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.prepared import Prepared, job_key


class SqliteJournal:
    """The Journal port on SQLite."""

    _access: Access

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Apply each change-set atomically and durably, in order, in one transaction with what else is waiting."""
        if any(change.statements for change in changes):
            return [await self._commit_alone(change) for change in changes]
        return await self._access.commit([Prepared(change) for change in changes])

    async def _commit_alone(self, change: Change) -> Committed | Refusal:
        try:
            return (await self._access.commit([Prepared(change)]))[0]
        except StatementFailed as refusal:
            return refusal

    _FIND_OPERATION: Final = """
        SELECT tenant, scope, key, command, fingerprint, result, run_id
        FROM operation WHERE tenant = ? AND scope = ? AND key = ?"""

    async def find_operation(self, *, tenant: str, scope: str, key: str) -> OperationRecord | None:
        """Return the stored outcome of an operation."""

        def read(connection: sqlite3.Connection, _: int) -> OperationRecord | None:
            row = connection.execute(self._FIND_OPERATION, (tenant, scope, key)).fetchone()
            return None if row is None else rows.operation(row)

        return await self._access.read(read)

    #: The second column says whether the instance is done.
    _FIND_EPOCHS: Final = """
        SELECT j.epoch, 0, j.lost FROM job j
        WHERE j.run = (SELECT n FROM run WHERE id = ?1) AND j.stage_id = ?2 AND j.generation = ?3 AND j.turn = ?4
            AND j.item = ?5
        UNION ALL
        SELECT s.epoch, 1, s.lost FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?1) AND s.stage_id = ?2 AND s.generation = ?3 AND s.turn = ?4
            AND s.item = ?5"""

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Return whether the holder of that epoch settled the job."""

        def read(connection: sqlite3.Connection, _: int) -> bool:
            row = connection.execute(self._FIND_EPOCHS, (key.run_id, *job_key(key))).fetchone()
            if row is None:
                return False
            newest, done, lost = row
            # The newest epoch of a live job is its present lease, or what its last settlement made of it.
            over = newest if done else newest - 1
            return 1 <= epoch <= over and (lost is None or epoch not in json.loads(lost))

        return await self._access.read(read)
