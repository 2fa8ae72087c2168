"""Answers people from SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import StageInstance
from holdfast.entities.wait import Wait
from holdfast.events import Event
from holdfast.ports.queries import Annotation, Counts, LogLine, RunFilter
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.access import Access

#: Sorts behind every text that can be an id.
_LAST: Final = "\U0010ffff"


class SqliteQueries:
    """The Queries port on SQLite."""

    _access: Access

    #: The same question by five ways, each with the index that leaves least to look through. All parts of the filter
    #: are conditions in each; the range of ids carries the prefix and the page.
    _MATCHES: Final = """
        r.id >= :low AND r.id < :high
        AND (:workflow_id IS NULL OR r.workflow_id = :workflow_id)
        AND (:key IS NULL OR p.idempotency_key = :key)
        AND (:parent IS NULL OR r.parent = :parent)
        ORDER BY r.id DESC LIMIT :limit"""
    _RUNS_BY_KEY: Final = rows.select(
        """
        SELECT {run}
        FROM run_payload p INDEXED BY run_payload_key CROSS JOIN run r ON r.n = p.run
        WHERE p.idempotency_key = :key AND (:status IS NULL OR r.status = :status) AND {matches}""",
        matches=_MATCHES,
    )
    _RUNS_BY_PARENT: Final = rows.select(
        """
        SELECT {run}
        FROM run r INDEXED BY run_parent CROSS JOIN run_payload p ON p.run = r.n
        WHERE r.parent = :parent AND (:status IS NULL OR r.status = :status) AND {matches}""",
        matches=_MATCHES,
    )
    _RUNS_BY_STATUS: Final = rows.select(
        """
        SELECT {run}
        FROM run r INDEXED BY run_status CROSS JOIN run_payload p ON p.run = r.n
        WHERE r.status = :status AND {matches}""",
        matches=_MATCHES,
    )
    _RUNS_BY_WORKFLOW: Final = rows.select(
        """
        SELECT {run}
        FROM run r INDEXED BY run_workflow CROSS JOIN run_payload p ON p.run = r.n
        WHERE r.workflow_id = :workflow_id AND {matches}""",
        matches=_MATCHES,
    )
    _RUNS_BY_ID: Final = rows.select(
        """
        SELECT {run}
        FROM run r INDEXED BY sqlite_autoindex_run_1 CROSS JOIN run_payload p ON p.run = r.n
        WHERE {matches}""",
        matches=_MATCHES,
    )

    async def list_runs(self, where: RunFilter, *, limit: int, before: str | None = None) -> Sequence[Run]:
        """Return runs, newest first."""
        prefix = where.id_prefix or ""
        bounds = [prefix + _LAST] if before is None else [prefix + _LAST, before]
        asked: dict[str, Any] = {
            "low": prefix,
            "high": min(bounds),
            "workflow_id": where.workflow_id,
            "key": where.idempotency_key,
            "parent": where.parent_id,
            "limit": limit,
        }
        if where.idempotency_key is not None:
            text = self._RUNS_BY_KEY
        elif where.parent_id is not None:
            text = self._RUNS_BY_PARENT
        elif where.statuses:
            text = self._RUNS_BY_STATUS
        else:
            text = self._RUNS_BY_ID if where.workflow_id is None else self._RUNS_BY_WORKFLOW

        statuses: list[str | None] = [status.value for status in where.statuses] or [None]

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Run]:
            found: list[Run] = []
            for status in statuses:
                found += map(rows.run, connection.execute(text, asked | {"status": status}).fetchall())
            found.sort(key=lambda run: run.id, reverse=True)
            return found[:limit]

        return await self._access.read(read)

    _ALL_LIVE: Final = rows.select("SELECT {job} FROM job j WHERE j.run = (SELECT n FROM run WHERE id = ?)")
    _ALL_DONE: Final = rows.select("SELECT {stage} FROM stage s WHERE s.run = (SELECT n FROM run WHERE id = ?)")

    async def list_stages(self, run_id: str) -> Sequence[StageInstance]:
        """Return every stage instance of the run, in order of start, then of key; those not started come last."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[StageInstance]:
            connection.execute("BEGIN")
            try:
                live = connection.execute(self._ALL_LIVE, (run_id,)).fetchall()
                done = connection.execute(self._ALL_DONE, (run_id,)).fetchall()
            finally:
                connection.execute("COMMIT")
            stages = [rows.live_stage(run_id, row) for row in live] + [rows.done_stage(run_id, row) for row in done]
            started = [stage for stage in stages if stage.started_at is not None]
            others = [stage for stage in stages if stage.started_at is None]
            return [
                *sorted(started, key=lambda stage: (stage.started_at, stage.key)),
                *sorted(others, key=lambda stage: stage.key),
            ]

        return await self._access.read(read)

    _LIST_EVENTS: Final = rows.select("""
        SELECT {event} FROM event
        WHERE run = (SELECT n FROM run WHERE id = ?) AND number > ? ORDER BY number LIMIT ?""")

    async def list_events(self, run_id: str, *, after: int = 0, limit: int) -> Sequence[Event]:
        """Return events of the run in order."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Event]:
            found = connection.execute(self._LIST_EVENTS, (run_id, after, limit)).fetchall()
            return [rows.event(run_id, row) for row in found]

        return await self._access.read(read)

    _LIST_LOGS: Final = """
        SELECT stage_id, generation, turn, item, attempt, level, message, data, at FROM log
        WHERE run = (SELECT n FROM run WHERE id = ?) ORDER BY id DESC LIMIT ?"""

    async def list_logs(self, run_id: str, *, limit: int) -> Sequence[LogLine]:
        """Return the newest log lines of the run, oldest first."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[LogLine]:
            newest = connection.execute(self._LIST_LOGS, (run_id, limit)).fetchall()
            return [rows.log_line(run_id, row) for row in reversed(newest)]

        return await self._access.read(read)

    _LIST_RUN_WAITS: Final = rows.select("""
        SELECT {wait} FROM wait w INDEXED BY wait_run
        WHERE w.run = (SELECT n FROM run WHERE id = ?) ORDER BY w.id DESC LIMIT ?""")

    async def list_run_waits(self, run_id: str, *, limit: int) -> Sequence[Wait]:
        """Return the newest waits of the run in the order in which they were opened."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Wait]:
            newest = connection.execute(self._LIST_RUN_WAITS, (run_id, limit)).fetchall()
            return [rows.wait(run_id, row) for row in reversed(newest)]

        return await self._access.read(read)

    _LIST_ANNOTATIONS: Final = """
        SELECT name, value, stage_id, generation, turn, item, attempt, actor, at FROM annotation
        WHERE run = (SELECT n FROM run WHERE id = ?) ORDER BY id LIMIT ?"""

    async def list_annotations(self, run_id: str, *, limit: int) -> Sequence[Annotation]:
        """Return the oldest annotations of the run, in order of insertion."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Annotation]:
            found = connection.execute(self._LIST_ANNOTATIONS, (run_id, limit)).fetchall()
            return [rows.annotation(run_id, row) for row in found]

        return await self._access.read(read)

    async def list_orphans(self, *, limit: int) -> Sequence[str]:
        """Return live runs that nothing will advance."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[str]:
            return [run_id for (run_id,) in connection.execute("SELECT id FROM orphan_runs LIMIT ?", (limit,))]

        return await self._access.read(read)

    _LIVE_VERSIONS: Final = """
        SELECT workflow_id, workflow_version, count(*) FROM run INDEXED BY run_status
        WHERE status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'COMPENSATING')
        GROUP BY workflow_id, workflow_version ORDER BY workflow_id, workflow_version"""

    async def list_live_versions(self) -> Sequence[tuple[str, str, int]]:
        """Return the versions that live runs are pinned to."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[tuple[str, str, int]]:
            return connection.execute(self._LIVE_VERSIONS).fetchall()

        return await self._access.read(read)

    _COUNT_RUNS: Final = "SELECT status, count(*) FROM run GROUP BY status"
    #: Runs that no stream was told of yet count for each sink whose stream has nothing else to deliver.
    _COUNT: Final = """
        SELECT
            (SELECT count(*) FROM job WHERE due_at <= ?1 AND status = 'READY'),
            (SELECT count(*) FROM job WHERE lease_until IS NOT NULL),
            (SELECT count(*) FROM job WHERE status = 'SUSPENDED'),
            (SELECT count(*) FROM job WHERE status = 'WAITING'),
            (SELECT count(*) FROM job WHERE lease_until <= ?1),
            (SELECT count(*) FROM stream WHERE due_at IS NOT NULL) + (
                SELECT count(*) FROM run r CROSS JOIN sink k
                LEFT JOIN stream s ON s.sink = k.name AND s.run = r.n
                WHERE r.undelivered IS NOT NULL AND s.due_at IS NULL AND coalesce(s.parked, 0) = 0
                    AND coalesce(s.position, 0) < r.events
            ),
            (SELECT count(*) FROM stream WHERE parked = 1)"""

    async def count(self) -> Counts:
        """Return how much there is of what."""

        def read(connection: sqlite3.Connection, now: int) -> Counts:
            runs = connection.execute(self._COUNT_RUNS).fetchall()
            found = connection.execute(self._COUNT, (now,)).fetchone()
            ready, leased, suspended, waiting, expired, undelivered, parked = found
            return Counts(
                runs={RunStatus(status): count for status, count in runs},
                ready=ready,
                leased=leased,
                suspended=suspended,
                waiting=waiting,
                expired=expired,
                undelivered=undelivered,
                parked=parked,
            )

        return await self._access.read(read)
