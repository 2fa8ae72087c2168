"""The rows and indexes of the memory store, and the one lock around them."""

from __future__ import annotations

import bisect
import heapq
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast_adapters.memory.rows import InstanceRow, RunRow
from holdfast_adapters.memory.streams import SinkStreams

#: Where a job waits: workflow id, version, queue, and READY or SUSPENDED.
Lane = tuple[str, str, str, StageStatus]

#: A heap is rebuilt without its dead entries when it has more than this many and they are the larger part.
_TOLERATED_DEAD: Final = 1_000


class Store:
    """Rows by id with indexes whose cost depends on the work in progress, never on the past."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        #: Guards everything; heartbeat threads call in while the loop's thread does.
        self.lock = threading.RLock()
        self.closed = False
        self.runs: dict[str, RunRow] = {}
        #: Run ids in ascending order, which for UUIDv7 is the order of creation but for clock steps.
        self.run_ids: list[str] = []
        self.live: dict[str, RunRow] = {}
        self.operations: dict[tuple[str, str, str], OperationRecord] = {}
        self.leased: dict[StageKey, InstanceRow] = {}
        self.sinks: dict[str, SinkStreams] = {}
        self._pending: dict[tuple[str, str], list[tuple[int, datetime, str]]] = {}
        self._lanes: dict[Lane, list[tuple[int, datetime, int, InstanceRow]]] = {}
        self._delayed: list[tuple[datetime, int, InstanceRow]] = []
        self._timers: list[tuple[datetime, int, str, str]] = []
        self._stamps = 0

    def now(self) -> datetime:
        """Return the store's time; every operation asks once.

        Raises:
            StoreUnavailable: If the store is closed.
        """
        if self.closed:
            raise StoreUnavailable("The memory store is closed.")
        return self.clock.now()

    def stamp(self) -> int:
        """Return a number that was never given before."""
        self._stamps += 1
        return self._stamps

    def add_run(self, row: RunRow) -> None:
        """Index a new run, which is PENDING."""
        run_id = row.header.id
        self.runs[run_id] = row
        self.live[run_id] = row
        if self.run_ids and run_id < self.run_ids[-1]:
            bisect.insort(self.run_ids, run_id)
        else:
            self.run_ids.append(run_id)
        version = (row.header.workflow_id, row.header.workflow_version)
        heapq.heappush(self._pending.setdefault(version, []), (-row.header.priority, row.created_at, run_id))

    def drop_run(self, row: RunRow) -> None:
        """Take a run out again; what heaps hold of it is dead by itself."""
        run_id = row.header.id
        del self.runs[run_id]
        self.live.pop(run_id, None)
        del self.run_ids[bisect.bisect_left(self.run_ids, run_id)]

    def pending(self, *, limit: int, known: frozenset[tuple[str, str]]) -> list[RunRow]:
        """Return the first *limit* PENDING runs of the known versions."""
        heaps = [heap for version, heap in self._pending.items() if version in known]
        taken: list[tuple[list[tuple[int, datetime, str]], tuple[int, datetime, str]]] = []
        found: list[RunRow] = []
        while len(found) < limit:
            for heap in heaps:
                while heap and not self._is_pending(heap[0][2]):
                    heapq.heappop(heap)
            filled = [heap for heap in heaps if heap]
            if not filled:
                break
            first = min(filled, key=lambda heap: heap[0])
            entry = heapq.heappop(first)
            taken.append((first, entry))
            found.append(self.runs[entry[2]])
        for source, entry in taken:
            heapq.heappush(source, entry)
        return found

    def _is_pending(self, run_id: str) -> bool:
        row = self.runs.get(run_id)
        return row is not None and row.status is RunStatus.PENDING

    def await_due(self, row: InstanceRow) -> None:
        """Index a job that is not leased, by its due instant."""
        assert row.due_at is not None, "a job that is not leased has a due instant"
        heapq.heappush(self._delayed, (row.due_at, row.stamp, row))
        if len(self._delayed) > 2 * _TOLERATED_DEAD:
            self._sweep()

    def _sweep(self) -> None:
        alive = [entry for entry in self._delayed if entry[1] == entry[2].stamp]
        if len(self._delayed) - len(alive) > max(_TOLERATED_DEAD, len(alive)):
            heapq.heapify(alive)
            self._delayed = alive

    def due(self, *, now: datetime, wanted: Any) -> Iterator[InstanceRow]:
        """Yield jobs that are due in the lanes that *wanted* accepts, in the order in which they are to be leased.

        The caller moves each job it is given, or stops; a job that is not moved would be yielded again.
        """
        self._promote(now)
        heaps = [heap for lane, heap in self._lanes.items() if wanted(lane)]
        while True:
            best: list[tuple[int, datetime, int, InstanceRow]] | None = None
            for heap in heaps:
                while heap and heap[0][2] != heap[0][3].stamp:
                    heapq.heappop(heap)
                if heap and (best is None or heap[0][:3] < best[0][:3]):
                    best = heap
            if best is None:
                return
            yield best[0][3]

    def _promote(self, now: datetime) -> None:
        delayed = self._delayed
        while delayed and delayed[0][0] <= now:
            due_at, stamp, row = heapq.heappop(delayed)
            if stamp == row.stamp:
                header = row.run.header
                lane = (header.workflow_id, header.workflow_version, row.queue, row.status)
                heapq.heappush(self._lanes.setdefault(lane, []), (-row.priority, due_at, stamp, row))

    def await_timer(self, *, run_id: str, timer_id: str, due_at: datetime) -> None:
        """Index a timer by its due instant."""
        heapq.heappush(self._timers, (due_at, self.stamp(), run_id, timer_id))

    def due_timers(self, *, now: datetime, limit: int) -> list[tuple[str, str]]:
        """Return (run id, timer id) of the first *limit* timers that are due."""
        found: list[tuple[datetime, int, str, str]] = []
        while self._timers and self._timers[0][0] <= now and len(found) < limit:
            entry = heapq.heappop(self._timers)
            if self._is_set(entry):
                found.append(entry)
        for entry in found:
            heapq.heappush(self._timers, entry)
        return [(run_id, timer_id) for _, _, run_id, timer_id in found]

    def _is_set(self, entry: tuple[datetime, int, str, str]) -> bool:
        due_at, _, run_id, timer_id = entry
        row = self.runs.get(run_id)
        timer = None if row is None else row.timers.get(timer_id)
        return timer is not None and timer.due_at == due_at

    def next_due(self, now: datetime) -> timedelta | None:
        """Return how long it is until something is due; see `Work.next_due`."""
        if any(heap[0][2] == heap[0][3].stamp for heap in map(_pruned, self._lanes.values()) if heap):
            return timedelta()
        while self._delayed and self._delayed[0][1] != self._delayed[0][2].stamp:
            heapq.heappop(self._delayed)
        while self._timers and not self._is_set(self._timers[0]):
            heapq.heappop(self._timers)
        instants = [heap[0][0] for heap in (self._delayed, self._timers) if heap]
        instants.extend(row.lease_until for row in self.leased.values() if row.lease_until is not None)
        instants.extend(instant for sink in self.sinks.values() for instant in sink.next_due(now))
        return max(min(instants) - now, timedelta()) if instants else None


def _pruned(
    heap: list[tuple[int, datetime, int, InstanceRow]],
) -> list[tuple[int, datetime, int, InstanceRow]]:
    while heap and heap[0][2] != heap[0][3].stamp:
        heapq.heappop(heap)
    return heap
