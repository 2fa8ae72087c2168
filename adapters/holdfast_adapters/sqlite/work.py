"""Hands out work from SQLite."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey
from holdfast.entities.timer import Timer
from holdfast.ports.work import QUEUE_LOOK, KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.choosing import choose, choose_one
from holdfast_adapters.sqlite.granting import grant
from holdfast_adapters.sqlite.prepared import job_key
from holdfast_adapters.sqlite.statements import Rows
from holdfast_adapters.sqlite.turns import Turns


class SqliteWork:
    """The Work port on SQLite."""

    _access: Access

    _PENDING_PRIORITY: Final = """
        SELECT max(priority) FROM run INDEXED BY run_pending
        WHERE status = 'PENDING' AND held = 0 AND workflow_id = ? AND workflow_version = ? AND priority <= ?"""
    _PENDING_TENANT: Final = """
        SELECT min(tenant) FROM run INDEXED BY run_pending
        WHERE status = 'PENDING' AND held = 0 AND workflow_id = ? AND workflow_version = ? AND priority = ?
            AND tenant BETWEEN ? AND ?"""
    _LIST_PENDING: Final = rows.select("""
        SELECT {run}
        FROM run r INDEXED BY run_pending JOIN run_payload p ON p.run = r.n
        WHERE r.status = 'PENDING' AND r.held = 0 AND r.workflow_id = ? AND r.workflow_version = ? AND r.priority = ?
            AND r.tenant = ?
        ORDER BY r.created_at, r.id LIMIT ?""")

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, highest priority first, tenants taking turns."""
        turns = self._access.opened.pending_turns

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Run]:
            # Version by version, so that unknown ones in front cost nothing.
            walks = [self._pending(connection, turns, version, limit=limit) for version in known]
            found = [run for _, run in islice(heapq.merge(*walks), limit)]
            for run in found:
                turns.serve(run.header.tenant)
            return found

        return await self._access.read(read)

    def _pending(
        self, connection: sqlite3.Connection, turns: Turns, version: KnownWorkflow, *, limit: int
    ) -> Iterator[tuple[tuple[Any, ...], Run]]:
        """Yield what to order by and the run, for the first of each tenant of the version."""
        levels = turns.walk(connection, version, next_priority=self._PENDING_PRIORITY, next_tenant=self._PENDING_TENANT)
        for priority, tenant in levels:
            asked = (*version, priority, tenant, limit)
            for run in map(rows.run, connection.execute(self._LIST_PENDING, asked).fetchall()):
                yield (-priority, *turns.rank(tenant), run.created_at, run.id), run

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due."""
        turns = self._access.opened.turns

        def write(connection: sqlite3.Connection, now: int) -> Sequence[Lease]:
            found = choose(connection, request, turns=turns, now=now)
            return grant(connection, found, worker=request.worker, ttl=encoding.span(request.ttl), now=now)

        return await self._access.write(write)

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job, if it is eligible."""

        def write(connection: sqlite3.Connection, now: int) -> Lease | None:
            found = choose_one(connection, key.run_id, job_key(key), now=now)
            leases = grant(connection, found, worker=worker, ttl=encoding.span(ttl), now=now)
            return leases[0] if leases else None

        return await self._access.write(write)

    _FIND_LEASES: Final = Rows(
        """
        SELECT r.n, j.epoch, j.lease_until, EXISTS (SELECT 1 FROM queue q WHERE q.name = j.queue)
        FROM (VALUES {rows}) v
        LEFT JOIN run r ON r.id = v.column1
        LEFT JOIN job j ON j.run = r.n AND j.stage_id = v.column2 AND j.generation = v.column3 AND j.turn = v.column4
            AND j.item = v.column5""",
        width=5,
    )
    #: A moved end touches one index entry; the run's row is left alone.
    _EXTEND: Final = """
        UPDATE job SET lease_until = ? WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend leases and return those that are lost."""

        def write(connection: sqlite3.Connection, now: int) -> Sequence[LeaseRef]:
            keys = [(ref.key.run_id, *job_key(ref.key)) for ref in leases]
            until = now + encoding.span(ttl)
            held: list[tuple[Any, ...]] = []
            lost: list[LeaseRef] = []
            for ref, key, row in zip(leases, keys, self._FIND_LEASES.fetch(connection, keys), strict=True):
                run, epoch, ends_at, is_limited = row
                # Where there are limits, another job may have the place of a lease that has ended.
                if ends_at is None or epoch != ref.epoch or (is_limited and ends_at <= now):
                    lost.append(ref)
                else:
                    held.append((until, run, *key[1:]))
            connection.executemany(self._EXTEND, held)
            return lost

        return await self._access.write(write)

    #: The queues that have leases, each found by one look into the index.
    _LEASING_QUEUES: Final = """
        WITH RECURSIVE leasing (name) AS (
            SELECT min(queue) FROM job INDEXED BY job_lease WHERE lease_until IS NOT NULL
            UNION ALL
            SELECT (
                SELECT min(queue) FROM job INDEXED BY job_lease WHERE lease_until IS NOT NULL AND queue > leasing.name
            )
            FROM leasing WHERE leasing.name IS NOT NULL
        )
        SELECT name FROM leasing WHERE name IS NOT NULL"""
    _LIST_EXPIRED: Final = """
        SELECT j.lease_until, r.id, j.stage_id, j.generation, j.turn, j.item, j.epoch, j.attempt, j.max_attempts,
            j.worker, j.status, j.guarded
        FROM job j INDEXED BY job_lease JOIN run r ON r.n = j.run
        WHERE j.queue = ? AND j.lease_until <= ?
        ORDER BY j.lease_until LIMIT ?"""

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return leases that are past their end, longest past first."""

        def read(connection: sqlite3.Connection, now: int) -> Sequence[ExpiredLease]:
            found = [
                row
                for (queue,) in connection.execute(self._LEASING_QUEUES).fetchall()
                for row in connection.execute(self._LIST_EXPIRED, (queue, now, limit)).fetchall()
            ]
            found.sort()
            return [rows.expired(row[1:]) for row in found[:limit]]

        return await self._access.read(read)

    _LIST_DUE_TIMERS: Final = """
        SELECT r.id, t.id, t.kind, t.due_at
        FROM timer t INDEXED BY timer_due JOIN run r ON r.n = t.run
        WHERE t.due_at <= ?
        ORDER BY t.due_at LIMIT ?"""

    async def list_due_timers(self, *, limit: int) -> Sequence[Timer]:
        """Return timers whose instant has come, earliest first."""

        def read(connection: sqlite3.Connection, now: int) -> Sequence[Timer]:
            return [rows.timer(row) for row in connection.execute(self._LIST_DUE_TIMERS, (now, limit)).fetchall()]

        return await self._access.read(read)

    #: Each line is one look at the end of an index, those of jobs and leases for each queue. Due jobs of a queue that
    #: has limits are passed over, and stand for an instant to come unless it is paused. Events count for sinks that
    #: have asked before: those not told of yet, those of streams, and those of runs that are older than a sink which
    #: has not been given them yet.
    _NEXT_DUE: Final = """
        WITH RECURSIVE working (name) AS (
            SELECT min(queue) FROM job INDEXED BY job_due WHERE due_at IS NOT NULL
            UNION ALL
            SELECT (SELECT min(queue) FROM job INDEXED BY job_due WHERE due_at IS NOT NULL AND queue > working.name)
            FROM working WHERE working.name IS NOT NULL
        ),
        leasing (name) AS (
            SELECT min(queue) FROM job INDEXED BY job_lease WHERE lease_until IS NOT NULL
            UNION ALL
            SELECT (
                SELECT min(queue) FROM job INDEXED BY job_lease WHERE lease_until IS NOT NULL AND queue > leasing.name
            )
            FROM leasing WHERE leasing.name IS NOT NULL
        ),
        kind (queue, delayed, passed, paused) AS (
            SELECT working.name, v.column1, CASE WHEN q.name IS NULL THEN -1 ELSE :now END, q.paused
            FROM working CROSS JOIN (VALUES (0), (1)) v LEFT JOIN queue q ON q.name = working.name
            WHERE working.name IS NOT NULL
        )
        SELECT min(at) FROM (
            SELECT (
                SELECT due_at FROM job j INDEXED BY job_due
                WHERE j.due_at IS NOT NULL AND j.queue = kind.queue AND j.delayed = kind.delayed
                    AND j.due_at > kind.passed
                ORDER BY due_at LIMIT 1
            ) AS at FROM kind
            UNION ALL SELECT :soon FROM kind WHERE paused = 0 AND EXISTS (
                SELECT 1 FROM job j INDEXED BY job_due
                WHERE j.due_at IS NOT NULL AND j.queue = kind.queue AND j.delayed = kind.delayed
                    AND j.due_at <= kind.passed
            )
            UNION ALL SELECT (
                SELECT lease_until FROM job INDEXED BY job_lease
                WHERE queue = leasing.name AND lease_until IS NOT NULL
                ORDER BY lease_until LIMIT 1
            ) FROM leasing
            UNION ALL SELECT min(due_at) FROM timer
            UNION ALL SELECT (SELECT min(undelivered) FROM run WHERE undelivered IS NOT NULL)
            WHERE EXISTS (SELECT 1 FROM sink)
            UNION ALL SELECT 0 FROM sink WHERE backfill IS NOT NULL
            UNION ALL SELECT (SELECT min(due_at) FROM stream WHERE sink = name AND due_at IS NOT NULL) FROM sink
        )"""

    async def next_due(self) -> timedelta | None:
        """Return how long it is until something is due."""

        def read(connection: sqlite3.Connection, now: int) -> timedelta | None:
            asked = {"now": now, "soon": now + encoding.span(QUEUE_LOOK)}
            (at,) = connection.execute(self._NEXT_DUE, asked).fetchone()
            return None if at is None else encoding.duration(max(at - now, 0))

        return await self._access.read(read)
