"""Hands out work from Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from psycopg.errors import LockNotAvailable

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey
from holdfast.entities.timer import Timer
from holdfast.ports.work import KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.granting import SOMETHING_DUE, claim, claim_one
from holdfast_adapters.postgres.prepared import job_key
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import BEGIN, COMMIT, ROLLBACK
from holdfast_adapters.postgres.wire import Wire


class PostgresWork:
    """The Work port on Postgres."""

    _access: Access

    #: The first of each version in order of the index, so that unknown versions in front cost nothing.
    _LIST_PENDING: Final = Statement(
        rows.select("""
        SELECT pending.*
        FROM unnest($1::text[], $2::text[]) kind (workflow_id, workflow_version)
        CROSS JOIN LATERAL (
            SELECT {run}
            FROM holdfast.run r {payload}
            WHERE r.status = 'PENDING' AND NOT r.held AND r.workflow_id = kind.workflow_id
                AND r.workflow_version = kind.workflow_version
            ORDER BY r.priority DESC, r.created_at, r.id LIMIT $3::bigint
        ) pending""")
    )

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, highest priority, then oldest, first."""
        if not known or limit < 1:
            return []
        (found,) = await self._access.read((self._LIST_PENDING, (*zip(*known, strict=True), limit)))
        runs = [rows.run(row) for row in found]
        runs.sort(key=lambda run: (-run.header.priority, run.created_at, run.id))
        return runs[:limit]

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due."""
        now = self._access.instant()
        # One cheap look first: most of the time there is nothing.
        (found,) = await self._access.read((SOMETHING_DUE, (now,)))
        if not found[0][0] or request.limit < 1 or not (request.known and request.queues and request.statuses):
            return []
        return await self._access.use(lambda wire: claim(wire, request, now=now))

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
    #: A moved end touches one index entry; the run's row is left alone.
    _EXTEND: Final = Statement("""
        UPDATE holdfast.job j
        SET lease_until = coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) + $2::bigint
        FROM (
            SELECT r.n, v.*
            FROM unnest($3::text[], $4::text[], $5::integer[], $6::integer[], $7::integer[], $8::integer[])
                v (id, stage_id, generation, turn, item, epoch)
            JOIN holdfast.run r ON r.id = v.id OFFSET 0
        ) v
        WHERE j.run = v.n AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
            AND j.item = v.item AND j.epoch = v.epoch AND j.lease_until IS NOT NULL
        RETURNING v.id, v.stage_id, v.generation, v.turn, v.item, v.epoch""")

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend leases and return those that are lost."""
        asked = [(ref.key.run_id, *job_key(ref.key), ref.epoch) for ref in leases]
        runs = list({ref.key.run_id for ref in leases})

        async def write(wire: Wire) -> set[tuple[Any, ...]]:
            try:
                _, _, held, _ = await wire.run(
                    (BEGIN, ()), (self._LOCK_RUNS, (runs,)), self._extension(asked, ttl=ttl), (COMMIT, ())
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
        _, _, free, there = await wire.run(
            (ROLLBACK, ()), (BEGIN, ()), (self._LOCK_FREE_RUNS, (runs,)), (self._ALL_RUNS, (runs,))
        )
        kept = {run for (run,) in there} - {run for (run,) in free}
        extension = self._extension([key for key in asked if key[0] not in kept], ttl=ttl)
        held, _ = await wire.run(extension, (COMMIT, ()))
        return {*held, *(key for key in asked if key[0] in kept)}

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

    #: Each line is one look at the end of an index. Events count for sinks that have asked before: those not told of
    #: yet, those of streams, and those of runs that are older than a sink which has not been given them yet.
    _NEXT_DUE: Final = Statement(
        rows.select("""
        SELECT min(due.at) - {now} FROM (
            SELECT min(due_at) AS at FROM holdfast.job WHERE due_at IS NOT NULL
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
        (found,) = await self._access.read((self._NEXT_DUE, (self._access.instant(),)))
        left = found[0][0]
        return None if left is None else encoding.duration(max(left, 0))
