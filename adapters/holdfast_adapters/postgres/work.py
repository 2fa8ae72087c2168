"""Hands out work from Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from psycopg.errors import LockNotAvailable

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey
from holdfast.entities.timer import Timer
from holdfast.ports.work import QUEUE_LOOK, KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.candidates import RIPEN, RIPENING, SOMETHING_DUE
from holdfast_adapters.postgres.flow import LOCK_LIMITS, LOCK_QUEUES_OF
from holdfast_adapters.postgres.granting import claim, claim_one
from holdfast_adapters.postgres.prepared import job_key
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.turns import Turns, walk
from holdfast_adapters.postgres.wave import BEGIN, COMMIT, ROLLBACK
from holdfast_adapters.postgres.wire import Wire


class PostgresWork:
    """The Work port on Postgres."""

    _access: Access
    #: Whose turn it is to get leases, and to be admitted.
    _turns: Turns
    _pending_turns: Turns

    _PENDING: Final = """holdfast.run x
                    WHERE x.status = 'PENDING' AND NOT x.held AND x.workflow_id = kind.workflow_id
                        AND x.workflow_version = kind.workflow_version"""
    #: The first of each version, priority by priority and within it in the order of turns, found as those of jobs are.
    _LIST_PENDING: Final = Statement(
        rows.select(
            """
        SELECT pending.*
        FROM unnest($1::text[], $2::text[]) kind (workflow_id, workflow_version)
        CROSS JOIN LATERAL (
            WITH RECURSIVE level (priority) AS (
                (SELECT x.priority FROM {pending} ORDER BY x.priority DESC LIMIT 1)
                UNION ALL
                SELECT next.priority
                FROM level
                CROSS JOIN LATERAL (
                    SELECT x.priority FROM {pending} AND x.priority < level.priority ORDER BY x.priority DESC LIMIT 1
                ) next
            )
            SELECT pending.*
            FROM level
            CROSS JOIN LATERAL {tenants} tenant
            CROSS JOIN LATERAL (
                SELECT {run}
                FROM holdfast.run r {payload}
                WHERE r.status = 'PENDING' AND NOT r.held AND r.workflow_id = kind.workflow_id
                    AND r.workflow_version = kind.workflow_version AND r.priority = level.priority
                    AND r.tenant = tenant.name
                ORDER BY r.created_at, r.id LIMIT $3::bigint
            ) pending
            LIMIT $3::bigint
        ) pending""",
            pending=_PENDING,
            tenants=walk(
                "tenant", where=_PENDING + " AND x.priority = level.priority", low="$4::text", last="$5::text"
            ),
        )
    )

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, those of higher priority first, tenants taking turns."""
        if not known or limit < 1:
            return []
        seen = self._pending_turns.seen()
        first, last, *_ = seen.parameters()
        (found,) = await self._access.read((self._LIST_PENDING, (*zip(*known, strict=True), limit, first, last)))
        runs = [rows.run(row) for row in found]
        runs.sort(
            key=lambda run: (-run.header.priority, *seen.order(run.header.tenant, ""), run.created_at, run.id),
        )
        for run in runs[:limit][-1:]:
            self._pending_turns.served(run.header.tenant)
        return runs[:limit]

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due, tenants and keys taking turns."""
        now = self._access.instant()
        # One cheap look first: most of the time there is nothing.
        (((is_due, ripens),),) = await self._access.read((SOMETHING_DUE, (now, list(request.queues))))
        if not is_due or request.limit < 1 or not (request.known and request.queues and request.statuses):
            return []
        if ripens:
            await self._access.use(lambda wire: wire.run((RIPEN, (now, RIPENING))))
        return await self._access.use(lambda wire: claim(wire, request, turns=self._turns, now=now))

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job, if it is eligible."""
        now = self._access.instant()
        return await self._access.write(lambda wire: claim_one(wire, key, worker=worker, ttl=ttl, now=now))

    #: The runs first and in their order, as everybody who writes to jobs does: a commit that settles the same jobs at
    #: the same moment would otherwise wait for these while these wait for it.
    _LOCK_RUNS: Final = Statement("SELECT 1 FROM holdfast.run r WHERE r.id = ANY($1::text[]) ORDER BY r.n FOR UPDATE")
    #: Those of them that nobody else keeps: a lease of a run that is held up must not end the leases of all others.
    _LOCK_FREE_RUNS: Final = Statement("""
        SELECT r.id FROM holdfast.run r WHERE r.id = ANY($1::text[]) ORDER BY r.n FOR UPDATE SKIP LOCKED""")
    _ALL_RUNS: Final = Statement("SELECT r.id FROM holdfast.run r WHERE r.id = ANY($1::text[])")
    #: A moved end touches one index entry; the run's row is left alone. In a queue that has limits another job may have
    #: the place of a lease that has ended; whoever gives it away has locked the queue as this has.
    _EXTEND: Final = Statement("""
        UPDATE holdfast.job j
        SET lease_until = v.now + $2::bigint
        FROM (
            SELECT r.n, v.*,
                coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
            FROM unnest($3::text[], $4::text[], $5::integer[], $6::integer[], $7::integer[], $8::integer[])
                v (id, stage_id, generation, turn, item, epoch)
            JOIN holdfast.run r ON r.id = v.id OFFSET 0
        ) v
        WHERE j.run = v.n AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
            AND j.item = v.item AND j.epoch = v.epoch AND j.lease_until IS NOT NULL
            AND (j.lease_until > v.now OR NOT EXISTS (SELECT 1 FROM holdfast.queue q WHERE q.name = j.queue OFFSET 0))
        RETURNING v.id, v.stage_id, v.generation, v.turn, v.item, v.epoch""")

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend leases and return those that are lost."""
        asked = [(ref.key.run_id, *job_key(ref.key), ref.epoch) for ref in leases]
        runs = list({ref.key.run_id for ref in leases})

        async def write(wire: Wire) -> set[tuple[Any, ...]]:
            try:
                *_, held, _ = await wire.run(
                    *self._opening(asked), (self._LOCK_RUNS, (runs,)), self._extension(asked, ttl=ttl), (COMMIT, ())
                )
            except LockNotAvailable:
                return await self._extend_free(wire, asked, runs=runs, ttl=ttl)
            return set(held)

        held = await self._access.write(write)
        return [ref for ref, key in zip(leases, asked, strict=True) if key not in held]

    async def _extend_free(
        self, wire: Wire, asked: Sequence[tuple[Any, ...]], *, runs: list[str], ttl: timedelta
    ) -> set[tuple[Any, ...]]:
        """Extend what can be and return what is not lost; of a run that somebody keeps locked nothing is known yet."""
        *_, free, there = await wire.run(
            (ROLLBACK, ()), *self._opening(asked), (self._LOCK_FREE_RUNS, (runs,)), (self._ALL_RUNS, (runs,))
        )
        kept = {run for (run,) in there} - {run for (run,) in free}
        extension = self._extension([key for key in asked if key[0] not in kept], ttl=ttl)
        held, _ = await wire.run(extension, (COMMIT, ()))
        return {*held, *(key for key in asked if key[0] in kept)}

    def _opening(self, asked: Sequence[tuple[Any, ...]]) -> Sequence[Call]:
        """Return what comes before the runs are locked: one lock first, so that those of the queues miss none."""
        jobs = tuple(zip(*(job[:-1] for job in asked), strict=True)) or ((),) * 5
        return ((BEGIN, ()), (LOCK_LIMITS, ()), (LOCK_QUEUES_OF, jobs))

    def _extension(self, asked: Sequence[tuple[Any, ...]], *, ttl: timedelta) -> Call:
        columns = tuple(zip(*asked, strict=True)) or ((),) * 6
        return (self._EXTEND, (self._access.instant(), encoding.span(ttl), *columns))

    _LIST_EXPIRED: Final = Statement(
        rows.select("""
        SELECT r.id, j.stage_id, j.generation, j.turn, j.item, j.epoch, j.attempt, j.max_attempts, j.worker, j.status,
            j.guarded
        FROM holdfast.job j {run_of_j}
        WHERE j.lease_until IS NOT NULL AND j.lease_until <= {now}
        ORDER BY j.lease_until LIMIT $2::bigint""")
    )

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return leases that are past their end, longest past first."""
        (found,) = await self._access.read((self._LIST_EXPIRED, (self._access.instant(), limit)))
        return [rows.expired(row) for row in found]

    _LIST_DUE_TIMERS: Final = Statement(
        rows.select("""
        SELECT r.id, t.id, t.kind, t.due_at
        FROM holdfast.timer t {run_of_t}
        WHERE t.due_at <= {now}
        ORDER BY t.due_at LIMIT $2::bigint""")
    )

    async def list_due_timers(self, *, limit: int) -> Sequence[Timer]:
        """Return timers whose instant has come, earliest first."""
        (found,) = await self._access.read((self._LIST_DUE_TIMERS, (self._access.instant(), limit)))
        return [rows.timer(row) for row in found]

    #: Each line is one look at the end of an index, of jobs one for each queue. Events count for sinks that have asked
    #: before: those not told of yet, those of streams, and those of runs that are older than a sink which has not been
    #: given them yet.
    _NEXT_DUE: Final = Statement(
        rows.select("""
        WITH RECURSIVE named (name) AS (
            (SELECT x.queue FROM holdfast.job x WHERE x.due_at IS NOT NULL ORDER BY x.queue LIMIT 1)
            UNION ALL
            SELECT next.queue FROM named CROSS JOIN LATERAL (
                SELECT x.queue FROM holdfast.job x WHERE x.due_at IS NOT NULL AND x.queue > named.name
                ORDER BY x.queue LIMIT 1
            ) next
        ), queue AS MATERIALIZED (
            SELECT named.name, q.paused IS NOT NULL AS limited, q.paused
            FROM named
            LEFT JOIN LATERAL (SELECT * FROM holdfast.queue x WHERE x.name = named.name OFFSET 0) q ON true
        )
        SELECT min(due.at) - {now} FROM (
            SELECT due.at FROM queue CROSS JOIN LATERAL (
                SELECT CASE WHEN x.due_at <= {now} AND queue.limited THEN least(
                    CASE WHEN NOT queue.paused THEN {now} + $2::bigint END,
                    (
                        SELECT min(y.due_at) FROM holdfast.job y
                        WHERE y.due_at IS NOT NULL AND y.queue = queue.name AND y.due_at > {now}
                    )
                ) ELSE x.due_at END AS at
                FROM holdfast.job x WHERE x.due_at IS NOT NULL AND x.queue = queue.name
                ORDER BY x.due_at LIMIT 1
            ) due
            UNION ALL SELECT min(lease_until) FROM holdfast.job WHERE lease_until IS NOT NULL
            UNION ALL SELECT min(due_at) FROM holdfast.timer
            UNION ALL (
                SELECT min(undelivered) FROM holdfast.run
                WHERE undelivered IS NOT NULL AND EXISTS (SELECT 1 FROM holdfast.sink)
            )
            UNION ALL SELECT 0 FROM holdfast.sink WHERE backfill IS NOT NULL
            UNION ALL (
                SELECT (SELECT min(s.due_at) FROM holdfast.stream s WHERE s.sink = k.name AND s.due_at IS NOT NULL)
                FROM holdfast.sink k
            )
        ) due""")
    )

    async def next_due(self) -> timedelta | None:
        """Return how long it is until something is due."""
        (found,) = await self._access.read((self._NEXT_DUE, (self._access.instant(), encoding.span(QUEUE_LOOK))))
        left = found[0][0]
        return None if left is None else encoding.duration(max(left, 0))
