"""Answers people from Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import StageInstance
from holdfast.entities.wait import Wait
from holdfast.events import Event
from holdfast.ports.queries import Annotation, Counts, LogLine, RunFilter
from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.snapshots import BEGIN_SNAPSHOT, END_SNAPSHOT
from holdfast_adapters.postgres.statements import Statement

#: Sorts behind every text that can be an id.
_LAST: Final = "\U0010ffff"


class PostgresQueries:
    """The Queries port on Postgres."""

    _access: Access

    #: The same question by five ways, each with the index that leaves least to look through. All parts of the filter
    #: are conditions in each; the range of ids carries the prefix and the page.
    _MATCHES: Final = """
        r.id >= $1::text AND r.id < $2::text
            AND ($3::text IS NULL OR r.workflow_id = $3::text)
            AND ($4::text IS NULL OR p.idempotency_key = $4::text)
            AND ($5::text IS NULL OR r.parent = $5::text)
            AND ($6::text[] IS NULL OR r.status = ANY($6::text[]))
        ORDER BY r.id DESC LIMIT $7::bigint"""
    _RUNS: Final = "SELECT {run} FROM holdfast.run r {payload} WHERE "
    _RUNS_BY_KEY: Final = Statement(
        rows.select(
            """
        SELECT {run}
        FROM (SELECT * FROM holdfast.run_payload WHERE idempotency_key = $4::text OFFSET 0) p
        CROSS JOIN LATERAL (SELECT * FROM holdfast.run x WHERE x.n = p.run OFFSET 0) r
        WHERE {matches}""",
            matches=_MATCHES,
        )
    )
    _RUNS_BY_PARENT: Final = Statement(rows.select(_RUNS + "r.parent = $5::text AND {matches}", matches=_MATCHES))
    _RUNS_BY_WORKFLOW: Final = Statement(
        rows.select(_RUNS + "r.workflow_id = $3::text AND {matches}", matches=_MATCHES)
    )
    _RUNS_BY_ID: Final = Statement(rows.select(_RUNS + "{matches}", matches=_MATCHES))
    #: Each status by itself, so that each is read from the end of its part of the index.
    _RUNS_BY_STATUS: Final = Statement(
        rows.select(
            """
        SELECT found.* FROM unnest($6::text[]) wanted (status)
        CROSS JOIN LATERAL (
            SELECT {run} FROM holdfast.run r {payload}
            WHERE r.status = wanted.status AND {matches}
        ) found""",
            matches=_MATCHES,
        )
    )

    async def list_runs(self, where: RunFilter, *, limit: int, before: str | None = None) -> Sequence[Run]:
        """Return runs, newest first."""
        prefix = where.id_prefix or ""
        high = prefix + _LAST if before is None else min(prefix + _LAST, before)
        statuses = [status.value for status in where.statuses] or None
        if where.idempotency_key is not None:
            query = self._RUNS_BY_KEY
        elif where.parent_id is not None:
            query = self._RUNS_BY_PARENT
        elif where.statuses:
            query = self._RUNS_BY_STATUS
        else:
            query = self._RUNS_BY_ID if where.workflow_id is None else self._RUNS_BY_WORKFLOW
        asked = (prefix, high, where.workflow_id, where.idempotency_key, where.parent_id, statuses, limit)
        (found,) = await self._access.read((query, asked))
        return sorted(map(rows.run, found), key=lambda run: run.id, reverse=True)[:limit]

    _ALL_LIVE: Final = Statement(
        rows.select("""
        SELECT {job} FROM holdfast.job j WHERE j.run = (SELECT n FROM holdfast.run WHERE id = $1::text)""")
    )
    _ALL_DONE: Final = Statement(
        rows.select("""
        SELECT {stage} FROM holdfast.stage s WHERE s.run = (SELECT n FROM holdfast.run WHERE id = $1::text)""")
    )

    async def list_stages(self, run_id: str) -> Sequence[StageInstance]:
        """Return every stage instance of the run, in order of start, then of key; those not started come last."""
        at = (run_id,)
        _, live, done, _ = await self._access.read(
            BEGIN_SNAPSHOT, (self._ALL_LIVE, at), (self._ALL_DONE, at), END_SNAPSHOT
        )
        stages = [rows.live_stage(run_id, row) for row in live] + [rows.done_stage(run_id, row) for row in done]
        started = [stage for stage in stages if stage.started_at is not None]
        others = [stage for stage in stages if stage.started_at is None]
        return [
            *sorted(started, key=lambda stage: (stage.started_at, stage.key)),
            *sorted(others, key=lambda stage: stage.key),
        ]

    _LIST_EVENTS: Final = Statement(
        rows.select("""
        SELECT {event} FROM holdfast.event e
        WHERE e.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND e.number > $2::bigint
        ORDER BY e.number LIMIT $3::bigint""")
    )

    async def list_events(self, run_id: str, *, after: int = 0, limit: int) -> Sequence[Event]:
        """Return events of the run in order."""
        (found,) = await self._access.read((self._LIST_EVENTS, (run_id, after, limit)))
        return [rows.event(run_id, row) for row in found]

    _LIST_LOGS: Final = Statement("""
        SELECT stage_id, generation, turn, item, attempt, level, message, data, at FROM holdfast.log
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) ORDER BY id DESC LIMIT $2::bigint""")

    async def list_logs(self, run_id: str, *, limit: int) -> Sequence[LogLine]:
        """Return the newest log lines of the run, oldest first."""
        (newest,) = await self._access.read((self._LIST_LOGS, (run_id, limit)))
        return [rows.log_line(run_id, row) for row in reversed(newest)]

    _LIST_RUN_WAITS: Final = Statement(
        rows.select("""
        SELECT {wait} FROM (
            SELECT * FROM holdfast.wait x WHERE x.run = (SELECT n FROM holdfast.run WHERE id = $1::text) OFFSET 0
        ) w
        ORDER BY w.id DESC LIMIT $2::bigint""")
    )

    async def list_run_waits(self, run_id: str, *, limit: int) -> Sequence[Wait]:
        """Return the newest waits of the run in the order in which they were opened."""
        (newest,) = await self._access.read((self._LIST_RUN_WAITS, (run_id, limit)))
        return [rows.wait(run_id, row) for row in reversed(newest)]

    _LIST_ANNOTATIONS: Final = Statement("""
        SELECT name, value, stage_id, generation, turn, item, attempt, actor, at FROM holdfast.annotation
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) ORDER BY id LIMIT $2::bigint""")

    async def list_annotations(self, run_id: str, *, limit: int) -> Sequence[Annotation]:
        """Return the oldest annotations of the run, in order of insertion."""
        (found,) = await self._access.read((self._LIST_ANNOTATIONS, (run_id, limit)))
        return [rows.annotation(run_id, row) for row in found]

    _LIST_ORPHANS: Final = Statement("SELECT id FROM holdfast.orphan_runs LIMIT $1::bigint")

    async def list_orphans(self, *, limit: int) -> Sequence[str]:
        """Return live runs that nothing will advance."""
        (found,) = await self._access.read((self._LIST_ORPHANS, (limit,)))
        return [run_id for (run_id,) in found]

    _LIVE_VERSIONS: Final = Statement("""
        SELECT workflow_id, workflow_version, count(*) FROM holdfast.run
        WHERE status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED', 'COMPENSATING')
        GROUP BY workflow_id, workflow_version ORDER BY workflow_id, workflow_version""")

    async def list_live_versions(self) -> Sequence[tuple[str, str, int]]:
        """Return the versions that live runs are pinned to."""
        (found,) = await self._access.read((self._LIVE_VERSIONS, ()))
        return [(workflow_id, version, count) for workflow_id, version, count in found]

    _COUNT_RUNS: Final = Statement("SELECT status, count(*) FROM holdfast.run GROUP BY status")
    #: Runs that no stream was told of yet count for each sink whose stream has nothing else to deliver.
    _COUNT: Final = Statement(
        rows.select("""
        SELECT
            (SELECT count(*) FROM holdfast.job WHERE due_at IS NOT NULL AND due_at <= {now} AND status = 'READY'),
            (SELECT count(*) FROM holdfast.job WHERE lease_until IS NOT NULL),
            (SELECT count(*) FROM holdfast.job WHERE status = 'SUSPENDED'),
            (SELECT count(*) FROM holdfast.job WHERE status = 'WAITING'),
            (SELECT count(*) FROM holdfast.job WHERE lease_until IS NOT NULL AND lease_until <= {now}),
            (SELECT count(*) FROM holdfast.stream WHERE due_at IS NOT NULL) + (
                SELECT count(*) FROM holdfast.run r CROSS JOIN holdfast.sink k
                LEFT JOIN holdfast.stream s ON s.sink = k.name AND s.run = r.n
                WHERE r.undelivered IS NOT NULL AND s.due_at IS NULL AND NOT coalesce(s.parked, false)
                    AND coalesce(s.position, 0) < r.events
            ),
            (SELECT count(*) FROM holdfast.stream WHERE parked)""")
    )

    async def count(self) -> Counts:
        """Return how much there is of what."""
        _, runs, found, _ = await self._access.read(
            BEGIN_SNAPSHOT, (self._COUNT_RUNS, ()), (self._COUNT, (self._access.instant(),)), END_SNAPSHOT
        )
        counts: tuple[Any, ...] = found[0]
        ready, leased, suspended, waiting, expired, undelivered, parked = counts
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
