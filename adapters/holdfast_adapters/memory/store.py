"""The rows and indexes of the memory store, and the one lock around them."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from holdfast.entities.keyed import KeyedResult, KeyScope
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast.ports.work import KnownWorkflow
from holdfast_adapters.memory.agenda import Agenda
from holdfast_adapters.memory.rows import InstanceRow, RunRow, TimerRow, TokenRow
from holdfast_adapters.memory.streams import SinkStreams
from holdfast_adapters.memory.undo import Transaction

#: Where a job waits: workflow id, version, queue, and READY or SUSPENDED.
Lane = tuple[str, str, str, StageStatus]
#: In which order jobs of a lane are leased: higher priority, then longest due.
Urgency = tuple[int, datetime]
#: In which order pending runs are admitted: higher priority, then age, then id.
Seniority = tuple[int, datetime, str]


class Store:
    """Rows by id with indexes whose cost depends on the work in progress, never on the past."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.closed = False
        self.stamps = 0
        self.overgrown: list[Agenda[Any, Any]] = []
        #: Held by every operation; heartbeat threads call in while the loop's thread does.
        self.transaction = Transaction(self.overgrown)
        self.runs: dict[str, RunRow] = {}
        #: Run ids in ascending order, which for UUIDv7 is the order of creation but for clock steps.
        self.run_ids: list[str] = []
        self.live: dict[str, RunRow] = {}
        #: The live runs that a run started, by its id.
        self.children: dict[str, dict[str, RunRow]] = {}
        #: How many runs have each status.
        self.statuses: dict[RunStatus, int] = dict.fromkeys(RunStatus, 0)
        self.operations: dict[tuple[str, str, str], OperationRecord] = {}
        #: Records whose run has gone, and when they may go.
        self.forgotten: dict[tuple[str, str, str], datetime] = {}
        self.keys: dict[KeyScope, KeyedResult] = {}
        #: By the hash of the token.
        self.tokens: dict[str, TokenRow] = {}
        self.sinks: dict[str, SinkStreams] = {}
        self.pending: dict[KnownWorkflow, Agenda[Seniority, RunRow]] = {}
        #: Jobs whose due instant has been seen to come.
        self.lanes: dict[Lane, Agenda[Urgency, InstanceRow]] = {}
        #: Jobs that are not leased and not yet in their lane.
        self.delayed: Agenda[datetime, InstanceRow] = Agenda(self.overgrown)
        self.leases: Agenda[datetime, InstanceRow] = Agenda(self.overgrown)
        self.timers: Agenda[datetime, TimerRow] = Agenda(self.overgrown)

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
        self.stamps += 1
        return self.stamps

    def add_run(self, row: RunRow) -> None:
        """Index a new run, which is PENDING."""
        header = row.header
        self.runs[header.id] = row
        self.live[header.id] = row
        ids = self.run_ids
        if ids and header.id < ids[-1]:
            bisect.insort(ids, header.id)
        else:
            ids.append(header.id)
        if header.parent_id is not None:
            self.children.setdefault(header.parent_id, {})[header.id] = row
        if not row.held:
            self.await_admission(row)

    def await_admission(self, row: RunRow) -> None:
        """Let a PENDING run stand among those that may be admitted."""
        header = row.header
        version = (header.workflow_id, header.workflow_version)
        if version not in self.pending:
            self.pending[version] = Agenda(self.overgrown)
        self.pending[version].add((-header.priority, row.created_at, header.id), row)

    def drop_run(self, row: RunRow) -> None:
        """Take back `add_run`, however far it came."""
        run_id = row.header.id
        row.stamp = 0
        self.runs.pop(run_id, None)
        self.live.pop(run_id, None)
        if row.header.parent_id is not None:
            self.children.get(row.header.parent_id, {}).pop(run_id, None)
        index = bisect.bisect_left(self.run_ids, run_id)
        if self.run_ids[index : index + 1] == [run_id]:
            del self.run_ids[index]

    def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> list[RunRow]:
        """Return the first *limit* PENDING runs of the *known* versions."""
        rows = [row for version, agenda in self.pending.items() if version in known for row in agenda.earliest(limit)]
        rows.sort(key=lambda row: (-row.header.priority, row.created_at, row.header.id))
        return rows[:limit]

    def due(
        self, now: datetime, *, wanted: Callable[[Lane], bool]
    ) -> Iterator[tuple[Agenda[Urgency, InstanceRow], Urgency, InstanceRow]]:
        """Yield the jobs that are due in *wanted* lanes in the order in which they are to be leased.

        The caller grants each job it is given before it asks for the next.
        """
        self._promote(now)
        lanes = [agenda for lane, agenda in self.lanes.items() if wanted(lane)]
        while True:
            best: tuple[Agenda[Urgency, InstanceRow], Urgency, InstanceRow] | None = None
            for agenda in lanes:
                first = self._first_due(agenda, now)
                # Jobs that became due at one instant are told apart by the order in which they came to be so.
                if first is not None and (best is None or (first[0], first[1].stamp) < (best[1], best[2].stamp)):
                    best = (agenda, *first)
            if best is None:
                return
            yield best

    def _promote(self, now: datetime) -> None:
        delayed = self.delayed
        while (first := delayed.first()) is not None and first[0] <= now:
            due_at, row = first
            header = row.run.header
            lane = (header.workflow_id, header.workflow_version, row.queue, row.status)
            if lane not in self.lanes:
                self.lanes[lane] = Agenda(self.overgrown)
            self.lanes[lane].add((-row.priority, due_at), row)
            delayed.skip()

    def _first_due(self, agenda: Agenda[Urgency, InstanceRow], now: datetime) -> tuple[Urgency, InstanceRow] | None:
        while (first := agenda.first()) is not None and first[0][1] > now:
            # The clock was set back since the job was seen to be due.
            self.delayed.add(first[0][1], first[1])
            agenda.skip()
        return first

    def next_due(self, now: datetime) -> timedelta | None:
        """Return how long it is until something is due; see `Work.next_due`."""
        for agenda in self.lanes.values():
            self._first_due(agenda, now)
        instants = [due[0][1] for agenda in self.lanes.values() if (due := agenda.first()) is not None]
        agendas: list[Agenda[datetime, Any]] = [self.delayed, self.leases, self.timers]
        agendas.extend(sink.agenda for sink in self.sinks.values())
        instants.extend(first[0] for agenda in agendas if (first := agenda.first()) is not None)
        return max(min(instants) - now, timedelta()) if instants else None
