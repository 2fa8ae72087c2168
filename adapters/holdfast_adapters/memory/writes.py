"""The smallest writes to the memory store, each of which notes how to take it back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from holdfast.change import NewTimer
from holdfast.entities.run import RunStatus
from holdfast.entities.timer import Timer
from holdfast_adapters.memory.rows import InstanceRow, RunRow, TimerRow
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.undo import Undo


class Writes:
    """Writes of one call, all at one instant."""

    # One is made for every call: what the layers above need is set at once, without a chain of calls.
    __slots__ = ("_store", "_undo", "now")

    _store: Store
    _undo: Undo
    now: datetime

    def _save(self, row: InstanceRow) -> None:
        """Note the state of a row that is about to move."""
        self._undo.append((row.restore, row.saved()))

    def _put(self, content: dict[Any, Any], name: object, value: object) -> None:
        """Set one member of *content*, which may replace another."""
        undo = (content.__setitem__, (name, content[name])) if name in content else (content.pop, (name, None))
        self._undo.append(undo)
        content[name] = value

    def _drop(self, content: dict[Any, Any], name: object) -> None:
        """Remove one member of *content* if it is there."""
        if name in content:
            self._undo.append((content.__setitem__, (name, content[name])))
            del content[name]

    def _append(self, rows: list[Any], row: object) -> None:
        self._undo.append((_cut, (rows, len(rows))))
        rows.append(row)

    def _count(self, status: RunStatus, more: int) -> None:
        statuses = self._store.statuses
        self._undo.append((statuses.__setitem__, (status, statuses[status])))
        statuses[status] += more

    def _set_timer(self, run: RunRow, new: NewTimer) -> None:
        self._drop_timer(run, new.id)
        due_at = self.now + new.delay
        timer = Timer(run_id=run.header.id, id=new.id, kind=new.kind, due_at=due_at)
        row = TimerRow(timer, stamp=self._store.stamp())
        self._undo.append((setattr, (row, "stamp", 0)))
        self._put(run.timers, new.id, row)
        self._store.timers.add(due_at, row)

    def _drop_timer(self, run: RunRow, timer_id: str) -> None:
        row = run.timers.get(timer_id)
        if row is not None:
            self._undo.append((setattr, (row, "stamp", row.stamp)))
            row.stamp = 0
            self._drop(run.timers, timer_id)


def _cut(rows: list[Any], length: int) -> None:
    del rows[length:]
