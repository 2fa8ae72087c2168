"""Keeps the limits of queues in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from holdfast.entities.queue import QueueLimits, QueueState
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.limits import FIND_LIMITS


class SqliteQueues:
    """The Queues port on SQLite."""

    _access: Access

    _SET_QUEUE: Final = """
        INSERT OR REPLACE INTO queue (name, concurrency, per_key, tokens, period, burst, paused, full_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
    _DROP_QUEUE: Final = "DELETE FROM queue WHERE name = ?"

    async def set_queue(self, limits: QueueLimits) -> None:
        """Give the queue these limits."""

        def write(connection: sqlite3.Connection, _: int) -> None:
            if not limits.has_any:
                connection.execute(self._DROP_QUEUE, (limits.name,))
                return
            before = connection.execute(FIND_LIMITS, (limits.name,)).fetchone()
            full_at = None
            if before is not None and rows.limits(before[: rows.QUEUE_WIDTH]).rate == limits.rate:
                full_at = before[rows.QUEUE_WIDTH]
            rate = limits.rate
            numbers = (None, None, None) if rate is None else (rate.tokens, encoding.span(rate.period), rate.burst)
            row = (limits.name, limits.concurrency, limits.per_key, *numbers, limits.paused, full_at)
            connection.execute(self._SET_QUEUE, row)

        await self._access.write(write)

    _LIST_LIMITS: Final = rows.select("SELECT {queue} FROM queue")
    _COUNT_JOBS: Final = """
        SELECT queue, count(*) FILTER (WHERE status = 'READY' AND due_at <= ?1),
            count(*) FILTER (WHERE lease_until > ?1), min(due_at) FILTER (WHERE status = 'READY' AND due_at <= ?1)
        FROM job GROUP BY queue"""

    async def list_queues(self) -> Sequence[QueueState]:
        """Return every queue that has limits or live jobs, in order of name."""

        def read(connection: sqlite3.Connection, now: int) -> Sequence[QueueState]:
            connection.execute("BEGIN")
            try:
                limits = {row[0]: rows.limits(row) for row in connection.execute(self._LIST_LIMITS).fetchall()}
                jobs = {row[0]: row[1:] for row in connection.execute(self._COUNT_JOBS, (now,)).fetchall()}
            finally:
                connection.execute("COMMIT")
            found: list[QueueState] = []
            for name in sorted(limits.keys() | jobs.keys()):
                ready, leased, oldest = jobs.get(name, (0, 0, None))
                found.append(
                    QueueState(
                        limits=limits.get(name) or QueueLimits(name=name),
                        ready=ready,
                        leased=leased,
                        oldest=None if oldest is None else encoding.duration(now - oldest),
                    )
                )
            return found

        return await self._access.read(read)
