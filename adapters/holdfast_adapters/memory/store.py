"""The rows and indexes of the memory store, and the one lock around them."""

from __future__ import annotations

import bisect
from datetime import datetime, timedelta
from typing import Any

from holdfast.entities.keyed import KeyedResult, KeyScope
from holdfast.entities.operation import OperationRecord
from holdfast.entities.queue import QueueLimits
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast.ports.work import QUEUE_LOOK, KnownWorkflow
from holdfast_adapters.memory.agenda import Agenda
from holdfast_adapters.memory.rows import InstanceRow, RunRow, TimerRow, TokenRow
from holdfast_adapters.memory.singles import Singles
from holdfast_adapters.memory.streams import SinkStreams
from holdfast_adapters.memory.turns import Levels, Turns
from holdfast_adapters.memory.undo import Transaction

#: What sort of job it is: workflow id, version, queue, and READY or SUSPENDED.
Kind = tuple[str, str, str, StageStatus]
#: In which order pending runs of one priority and tenant are admitted: age, then id.
Seniority = tuple[datetime, str]


class QueueRow:
    """A queue that has limits."""

    __slots__ = ("full_at", "limits")

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        #: When the bucket of its rate is full; None if it is.
        self.full_at: datetime | None = None

    def fill(self, full_at: datetime | None) -> None:
        """Set when the bucket is full."""
        self.full_at = full_at


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
        self.singles = Singles()
        #: The queues that have limits, by name.
        self.queues: dict[str, QueueRow] = {}
        self.pending: dict[KnownWorkflow, Levels[Seniority, RunRow]] = {}
        self.pending_turns = Turns()
        #: Jobs whose due instant has been seen to come.
        self.jobs: dict[Kind, Levels[datetime, InstanceRow]] = {}
        self.job_turns = Turns()
        #: Jobs that are not leased and not yet seen to be due.
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
        self.singles.add(row)
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
            self.pending[version] = Levels(self.overgrown)
        self.pending[version].add((header.priority, header.tenant, ""), (row.created_at, header.id), row)

    def drop_run(self, row: RunRow) -> None:
        """Take back `add_run`, however far it came."""
        run_id = row.header.id
        row.stamp = 0
        self.runs.pop(run_id, None)
        self.live.pop(run_id, None)
        self.singles.drop(row)
        if row.header.parent_id is not None:
            self.children.get(row.header.parent_id, {}).pop(run_id, None)
        index = bisect.bisect_left(self.run_ids, run_id)
        if self.run_ids[index : index + 1] == [run_id]:
            del self.run_ids[index]

    def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> list[RunRow]:
        """Return the first *limit* PENDING runs of the *known* versions, tenants taking turns."""
        found: list[RunRow] = []
        versions = [(version, levels) for version, levels in self.pending.items() if version in known]
        for tenant, key, agendas in self.pending_turns.walk(versions):
            if len(found) >= limit:
                break
            rows = [row for _, agenda in agendas for row in agenda.earliest(limit - len(found))]
            rows.sort(key=lambda row: (row.created_at, row.header.id))
            found.extend(rows[: limit - len(found)])
            self.pending_turns.served(tenant, key)
        return found

    def promote(self, now: datetime) -> None:
        """Let the jobs that have become due stand among those that are handed out."""
        delayed = self.delayed
        while (first := delayed.first()) is not None and first[0] <= now:
            due_at, row = first
            header = row.run.header
            kind = (header.workflow_id, header.workflow_version, row.queue, row.status)
            if kind not in self.jobs:
                self.jobs[kind] = Levels(self.overgrown)
            self.jobs[kind].add((row.priority, header.tenant, header.concurrency_key), due_at, row)
            delayed.skip()

    def first_due(self, agenda: Agenda[datetime, InstanceRow], now: datetime) -> tuple[datetime, InstanceRow] | None:
        """Return the first job of *agenda* that is due, if any is."""
        while (first := agenda.first()) is not None and first[0] > now:
            # The clock was set back since the job was seen to be due.
            self.delayed.add(*first)
            agenda.skip()
        return first

    def next_due(self, now: datetime) -> timedelta | None:
        """Return how long it is until something is due; see `Work.next_due`."""
        self.promote(now)
        instants: list[datetime] = []
        for (_, _, queue, _), levels in self.jobs.items():
            if queue in self.queues and self.queues[queue].limits.paused:
                continue
            if any(self.first_due(agenda, now) is not None for agenda in levels.agendas()):
                instants.append(now + QUEUE_LOOK if queue in self.queues else now)
        agendas: list[Agenda[datetime, Any]] = [self.delayed, self.leases, self.timers]
        agendas.extend(sink.agenda for sink in self.sinks.values())
        instants.extend(first[0] for agenda in agendas if (first := agenda.first()) is not None)
        return max(min(instants) - now, timedelta()) if instants else None
