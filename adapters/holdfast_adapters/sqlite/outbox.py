"""Hands out undelivered events from SQLite.

A commit does not know the sinks. It notes on the run since when it has events that no stream was told of, once, and
whoever leases streams next tells the streams of all known sinks and takes the note away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from holdfast.ports.outbox import Delivery, Stream
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.access import Access

#: Runs whose streams are told of new events, or made for a new sink, in one call at most.
MOST_TOLD: Final = 1_000


class SqliteOutbox:
    """The Outbox port on SQLite."""

    _access: Access

    #: The first sink finds every run still marked; a later one has to be given those that were told already.
    _ADD_SINK: Final = """
        INSERT OR IGNORE INTO sink (name, backfill)
        VALUES (?, CASE WHEN EXISTS (SELECT 1 FROM sink) OR EXISTS (SELECT 1 FROM former_sink) THEN 0 END)"""
    _FIND_BACKFILL: Final = "SELECT backfill FROM sink WHERE name = ?"
    _NEXT_RUNS: Final = "SELECT max(n) FROM (SELECT n FROM run WHERE n > ? ORDER BY n LIMIT ?)"
    _BACKFILL: Final = """
        INSERT OR IGNORE INTO stream (sink, run, due_at)
        SELECT ?, n, created_at FROM run WHERE n > ? AND n <= ? AND events > 0"""
    _MOVE_BACKFILL: Final = "UPDATE sink SET backfill = ? WHERE name = ?"

    #: A stream that is leased, delayed, parked or waiting already stays as it is.
    _TELL: Final = """
        INSERT INTO stream (sink, run, due_at)
        SELECT sink.name, marked.n, marked.undelivered
        FROM (
            SELECT n, undelivered FROM run INDEXED BY run_undelivered
            WHERE undelivered IS NOT NULL ORDER BY undelivered, n LIMIT ?
        ) marked
        CROSS JOIN sink
        WHERE true
        ON CONFLICT (sink, run) DO UPDATE SET due_at = excluded.due_at
        WHERE due_at IS NULL AND parked = 0 AND position < (SELECT events FROM run WHERE n = excluded.run)"""
    _UNMARK: Final = """
        UPDATE run SET undelivered = NULL WHERE n IN (
            SELECT n FROM run INDEXED BY run_undelivered
            WHERE undelivered IS NOT NULL ORDER BY undelivered, n LIMIT ?
        )"""

    _FIND_DUE: Final = """
        SELECT s.run, r.id, s.epoch, s.position, s.failures
        FROM stream s INDEXED BY stream_due JOIN run r ON r.n = s.run
        WHERE s.sink = ? AND s.due_at <= ?
        ORDER BY s.due_at, s.run LIMIT ?"""
    _FIND_EVENTS: Final = rows.select("""
        SELECT {event} FROM event WHERE run = ? AND number > ? ORDER BY number LIMIT ?""")
    _LEASE: Final = "UPDATE stream SET epoch = epoch + 1, held = 1, due_at = ? WHERE sink = ? AND run = ?"

    async def lease_streams(self, *, sink: str, limit: int, events: int, ttl: timedelta) -> Sequence[Stream]:
        """Lease streams with undelivered events, longest waiting first."""

        def write(connection: sqlite3.Connection, now: int) -> Sequence[Stream]:
            self._tell(connection, sink)
            left = events
            leased: list[tuple[Any, ...]] = []
            streams: list[Stream] = []
            for run, run_id, epoch, position, failures in connection.execute(
                self._FIND_DUE, (sink, now, min(limit, events))
            ).fetchall():
                if left < 1:
                    break
                found = connection.execute(self._FIND_EVENTS, (run, position, left)).fetchall()
                left -= len(found)
                leased.append((now + encoding.span(ttl), sink, run))
                streams.append(
                    Stream(
                        run_id=run_id,
                        sink=sink,
                        epoch=epoch + 1,
                        position=position,
                        failures=failures,
                        events=tuple(rows.event(run_id, row) for row in found),
                    )
                )
            connection.executemany(self._LEASE, leased)
            return streams

        return await self._access.write(write)

    def _tell(self, connection: sqlite3.Connection, sink: str) -> None:
        """Bring the streams up to what has been committed, in bounded steps."""
        connection.execute(self._ADD_SINK, (sink,))
        (backfill,) = connection.execute(self._FIND_BACKFILL, (sink,)).fetchone()
        if backfill is not None:
            (last,) = connection.execute(self._NEXT_RUNS, (backfill, MOST_TOLD)).fetchone()
            if last is not None:
                connection.execute(self._BACKFILL, (sink, backfill, last))
            connection.execute(self._MOVE_BACKFILL, (last, sink))
        connection.execute(self._TELL, (MOST_TOLD,))
        connection.execute(self._UNMARK, (MOST_TOLD,))

    _SETTLE: Final = """
        UPDATE stream
        SET position = ?1, failures = ?2, error = ?3, parked = ?4, held = 0,
            due_at = CASE WHEN ?4 = 0 AND ?1 < (SELECT events FROM run WHERE n = stream.run) THEN ?5 END
        WHERE sink = ?6 AND run = (SELECT n FROM run WHERE id = ?7) AND epoch = ?8 AND held = 1"""

    async def settle_streams(self, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        """Store positions and release leases."""

        def write(connection: sqlite3.Connection, now: int) -> Sequence[bool]:
            held: list[bool] = []
            for each in deliveries:
                became = (each.position, each.failures, each.error, int(each.parked), now + encoding.span(each.delay))
                settled = connection.execute(self._SETTLE, (*became, each.sink, each.run_id, each.epoch))
                held.append(settled.rowcount == 1)
            return held

        return await self._access.write(write)

    _REPLAY: Final = """
        UPDATE stream SET parked = 0, failures = 0, due_at = ?
        WHERE sink = ? AND run IN (
            SELECT run FROM stream INDEXED BY stream_parked WHERE sink = ? AND parked = 1 ORDER BY run LIMIT ?
        )"""

    async def replay_parked(self, *, sink: str, limit: int) -> int:
        """Make parked streams due again."""

        def write(connection: sqlite3.Connection, now: int) -> int:
            return connection.execute(self._REPLAY, (now, sink, sink, limit)).rowcount

        return await self._access.write(write)
