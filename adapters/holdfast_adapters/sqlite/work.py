"""Hands out work from SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey
from holdfast.entities.timer import Timer
from holdfast.ports.work import KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.found import CHECK, EPOCH, LEASE_UNTIL
from holdfast_adapters.sqlite.granting import Candidate, find_candidates, grant
from holdfast_adapters.sqlite.prepared import job_key


class SqliteWork:
    """The Work port on SQLite."""

    _access: Access

    _LIST_PENDING: Final = rows.select("""
        SELECT {run}
        FROM run r INDEXED BY run_pending JOIN run_payload p ON p.run = r.n
        WHERE r.status = 'PENDING' AND r.held = 0 AND r.workflow_id = ? AND r.workflow_version = ?
        ORDER BY r.priority DESC, r.created_at, r.id LIMIT ?""")

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, highest priority, then oldest, first."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Run]:
            # The first of each version in order of the index, so that unknown versions in front cost nothing.
            found = [
                rows.run(row)
                for workflow_id, version in known
                for row in connection.execute(self._LIST_PENDING, (workflow_id, version, limit)).fetchall()
            ]
            found.sort(key=lambda run: (-run.header.priority, run.created_at, run.id))
            return found[:limit]

        return await self._access.read(read)

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due."""

        def write(connection: sqlite3.Connection, now: int) -> Sequence[Lease]:
            found = find_candidates(connection, request, now=now)
            return grant(connection, found, worker=request.worker, ttl=encoding.span(request.ttl), now=now)

        return await self._access.write(write)

    _FIND_CANDIDATE: Final = """
        SELECT j.priority, j.due_at, j.run, j.stage_id, j.generation, j.turn, j.item
        FROM job j
        WHERE j.run = (SELECT n FROM run WHERE id = ?) AND j.stage_id = ? AND j.generation = ? AND j.turn = ?
            AND j.item = ? AND j.due_at <= ?"""

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job, if it is eligible."""

        def write(connection: sqlite3.Connection, now: int) -> Lease | None:
            at = (key.run_id, *job_key(key), now)
            found: list[Candidate] = connection.execute(self._FIND_CANDIDATE, at).fetchall()
            leases = grant(connection, found, worker=worker, ttl=encoding.span(ttl), now=now)
            return leases[0] if leases else None

        return await self._access.write(write)

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
            for ref, key, row in zip(leases, keys, CHECK.fetch(connection, keys), strict=True):
                if row[LEASE_UNTIL] is None or row[EPOCH] != ref.epoch:
                    lost.append(ref)
                else:
                    held.append((until, row[0], *key[1:]))
            connection.executemany(self._EXTEND, held)
            return lost

        return await self._access.write(write)

    _LIST_EXPIRED: Final = """
        SELECT r.id, j.stage_id, j.generation, j.turn, j.item, j.epoch, j.attempt, j.max_attempts, j.worker, j.status,
            j.guarded
        FROM job j INDEXED BY job_lease JOIN run r ON r.n = j.run
        WHERE j.lease_until <= ?
        ORDER BY j.lease_until LIMIT ?"""

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return leases that are past their end, longest past first."""

        def read(connection: sqlite3.Connection, now: int) -> Sequence[ExpiredLease]:
            return [rows.expired(row) for row in connection.execute(self._LIST_EXPIRED, (now, limit)).fetchall()]

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

    #: Each line is one look at the end of an index. Events count for sinks that have asked before: those not told of
    #: yet, those of streams, and those of runs that are older than a sink which has not been given them yet.
    _NEXT_DUE: Final = """
        SELECT min(at) FROM (
            SELECT min(due_at) AS at FROM job WHERE due_at IS NOT NULL
            UNION ALL SELECT min(lease_until) FROM job WHERE lease_until IS NOT NULL
            UNION ALL SELECT min(due_at) FROM timer
            UNION ALL SELECT min(undelivered) FROM run WHERE undelivered IS NOT NULL AND EXISTS (SELECT 1 FROM sink)
            UNION ALL SELECT 0 FROM sink WHERE backfill IS NOT NULL
            UNION ALL SELECT (SELECT min(due_at) FROM stream WHERE sink = name AND due_at IS NOT NULL) FROM sink
        )"""

    async def next_due(self) -> timedelta | None:
        """Return how long it is until something is due."""

        def read(connection: sqlite3.Connection, now: int) -> timedelta | None:
            (at,) = connection.execute(self._NEXT_DUE).fetchone()
            return None if at is None else encoding.duration(max(at - now, 0))

        return await self._access.read(read)
