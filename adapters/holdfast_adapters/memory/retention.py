"""Lets go of what is over in the memory store."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from holdfast.ports.retention import Place, Pruned, Terms
from holdfast_adapters.memory.rows import RunRow
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.undo import Undo


class MemoryRetention:
    """The Retention port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prune(self, terms: Terms, *, limit: int, after: Place | None = None, trial: bool = False) -> Pruned:
        """Remove those of the next runs that ended long enough ago to which nothing refers."""
        with self._store.transaction as undo:
            return self._prune(terms, limit=limit, after=after, undo=None if trial else undo)

    def _prune(self, terms: Terms, *, limit: int, after: Place | None, undo: Undo | None) -> Pruned:
        """Look at the next runs; without *undo* nothing may be written."""
        now = self._store.now()
        latest = now - terms.runs
        # One more than is looked at tells whether there is anything behind them.
        found = heapq.nsmallest(limit + 1, self._ended(latest, after))
        rows = [self._store.runs[run_id] for _, run_id in found[:limit]]
        keepers = {result.holder.run_id for result in self._store.keys.values() if result.output is not None}
        going = [
            row
            for row in rows
            if not self._is_needed(row, latest) and not (row.header.id in keepers and _end(row) > now - terms.results)
        ]
        if undo is not None:
            self._remove(going, undo, forget_at=now + terms.operations)
        last = found[limit - 1] if len(found) > limit else None
        return Pruned(
            run_ids=tuple(row.header.id for row in going),
            looked_at=len(rows),
            next=None if last is None else Place(finished_at=last[0], run_id=last[1]),
        )

    def _ended(self, latest: datetime, after: Place | None) -> list[tuple[datetime, str]]:
        least = None if after is None else (after.finished_at, after.run_id)
        ended = [(row.finished_at, row.header.id) for row in self._store.runs.values() if row.finished_at is not None]
        return [at for at in ended if at[0] <= latest and (least is None or at > least)]

    def _is_needed(self, row: RunRow, latest: datetime) -> bool:
        """Return whether its family or a sink still needs the run."""
        store, run_id = self._store, row.header.id
        parent = None if row.header.parent_id is None else store.runs.get(row.header.parent_id)
        if parent is not None and (parent.finished_at is None or parent.finished_at > latest):
            return True
        if store.children.get(run_id):
            return True
        streams = (sink.streams.get(run_id) for sink in store.sinks.values())
        return any(stream is None or stream.has_more for stream in streams)

    def _remove(self, rows: Sequence[RunRow], undo: Undo, *, forget_at: datetime) -> None:
        store, run_ids = self._store, {row.header.id for row in rows}
        for row in rows:
            run_id = row.header.id
            undo.append((store.statuses.__setitem__, (row.status, store.statuses[row.status])))
            store.statuses[row.status] -= 1
            undo.append((_list_again, (store.run_ids, run_id)))
            del store.run_ids[bisect.bisect_left(store.run_ids, run_id)]
            _drop(store.runs, run_id, undo)
            _drop(store.children, run_id, undo)
            for sink in store.sinks.values():
                _drop(sink.streams, run_id, undo)
        for scope in [scope for scope, result in store.keys.items() if result.holder.run_id in run_ids]:
            _drop(store.keys, scope, undo)
        for token in [token for token, right in store.tokens.items() if right.run_id in run_ids]:
            _drop(store.tokens, token, undo)
        for operation in [at for at, record in store.operations.items() if record.run_id in run_ids]:
            undo.append((store.forgotten.pop, (operation, None)))
            store.forgotten[operation] = forget_at

    async def forget_operations(self, *, limit: int) -> int:
        """Remove operation records whose time has come."""
        with self._store.transaction as undo:
            return self._forget(undo, limit=limit)

    def _forget(self, undo: Undo, *, limit: int) -> int:
        now = self._store.now()
        due = ((at, operation) for operation, at in self._store.forgotten.items() if at <= now)
        gone = heapq.nsmallest(limit, due)
        for _, operation in gone:
            _drop(self._store.forgotten, operation, undo)
            _drop(self._store.operations, operation, undo)
        return len(gone)

    async def forget_sink(self, name: str) -> bool:
        """Forget that the sink has ever asked for events."""
        with self._store.transaction as undo:
            self._store.now()
            is_known = name in self._store.sinks
            _drop(self._store.sinks, name, undo)
            return is_known

    async def list_missing(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Return those of which there is no run."""
        with self._store.transaction:
            self._store.now()
            return [run_id for run_id in run_ids if run_id not in self._store.runs]


def _end(row: RunRow) -> datetime:
    assert row.finished_at is not None, "only runs that ended are looked at"
    return row.finished_at


def _list_again(run_ids: list[str], run_id: str) -> None:
    """Put an id back into its place unless it is there still."""
    index = bisect.bisect_left(run_ids, run_id)
    if run_ids[index : index + 1] != [run_id]:
        run_ids.insert(index, run_id)


def _drop(content: dict[Any, Any], name: object, undo: Undo) -> None:
    if name in content:
        undo.append((content.__setitem__, (name, content[name])))
        del content[name]
