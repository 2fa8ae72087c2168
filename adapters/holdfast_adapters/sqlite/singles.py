"""Who has the singleton keys that the change-sets of a wave are about."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from holdfast.change import Change
from holdfast.entities.run import RunStatus
from holdfast.errors import SingletonTaken
from holdfast_adapters.sqlite.prepared import Single
from holdfast_adapters.sqlite.runstate import RunState
from holdfast_adapters.sqlite.statements import Rows

#: The oldest live run of each key that goes on, or that is held, as the last column of the rows asks.
FIND_OLDEST: Final = Rows(
    """
    SELECT v.column1, v.column2, v.column3, v.column4, r.created_at, r.id
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = (
        SELECT o.id FROM run o INDEXED BY run_singleton
        WHERE o.tenant = v.column1 AND o.workflow_id = v.column2 AND o.singleton = v.column3
            AND o.finished_at IS NULL AND o.held = v.column4
        ORDER BY o.created_at, o.id LIMIT 1
    )""",
    width=4,
)
FIND_KEYS: Final = Rows(
    """
    SELECT r.id, r.held, r.tenant, r.workflow_id, r.singleton
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1""",
    width=1,
)

#: When a run was created, and its id.
_Age = tuple[int, str]


class Singles:
    """The oldest live runs of singleton keys, kept up with the runs that the wave creates.

    What else the wave does with a key is not: whatever concerns it afterwards waits for the next one.
    """

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        #: The oldest of each key that goes on, and the oldest that is held.
        self._going: dict[Single, _Age] = {}
        self._held: dict[Single, _Age] = {}
        #: Key of a run that is there, and whether it is held.
        self._keys: dict[str, tuple[Single, bool]] = {}

    def read(self, created: Iterable[Single], moved: Sequence[str]) -> None:
        """Read what is to be known of the keys of runs that would be created, and of those that would be moved."""
        for run_id, held, *single in FIND_KEYS.fetch(self._connection, [(run_id,) for run_id in moved]):
            tenant, workflow_id, key = single
            self._keys[run_id] = ((tenant, workflow_id, key), bool(held))
        asked = {single for single, _ in self._keys.values()}.union(created)
        rows = [(*single, held) for single in asked for held in (0, 1)]
        for tenant, workflow_id, key, held, *age in FIND_OLDEST.fetch(self._connection, rows):
            created_at, run_id = age
            (self._held if held else self._going)[tenant, workflow_id, key] = (created_at, run_id)

    def has_live(self, single: Single) -> bool:
        """Return whether a run of the key is live."""
        return single in self._going or single in self._held

    def add(self, single: Single, run_id: str, *, held: bool) -> None:
        """Note a run that is created now."""
        runs, age = (self._held if held else self._going), (self._now, run_id)
        runs[single] = min(runs.get(single, age), age)

    def before(self, change: Change, single: Single) -> SingletonTaken | None:
        """Return the refusal of a new run that does not queue up behind those of its key."""
        if change.create is None or change.create.queues_up or not self.has_live(single):
            return None
        live = [runs[single] for runs in (self._going, self._held) if single in runs]
        return SingletonTaken(single[2], run_id=min(live)[1])

    def beside(self, change: Change, run: RunState) -> SingletonTaken | None:
        """Return the refusal of a run that would go on, or again, while another one of its key does."""
        move = change.step.run
        if move is None or move.status.is_terminal or run.id not in self._keys:
            return None
        single, held = self._keys[run.id]
        if not run.is_over and not (held and move.status is RunStatus.PENDING):
            return None
        going = self._going.get(single)
        return None if going is None else SingletonTaken(single[2], run_id=going[1])
