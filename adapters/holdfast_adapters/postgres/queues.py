"""Keeps the limits of queues in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.entities.queue import QueueLimits, QueueState
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.flow import LOCK_LIMITS_ALONE, QUEUE_COLUMNS, limits
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import Wire


class PostgresQueues:
    """The Queues port on Postgres."""

    _access: Access

    #: The bucket of a rate that stays the same stays as it is.
    _SET_QUEUE: Final = Statement("""
        INSERT INTO holdfast.queue (name, concurrency, per_key, tokens, period, burst, paused)
        VALUES ($1::text, $2::integer, $3::integer, $4::bigint, $5::bigint, $6::bigint, $7::boolean)
        ON CONFLICT (name) DO UPDATE
        SET concurrency = excluded.concurrency, per_key = excluded.per_key, tokens = excluded.tokens,
            period = excluded.period, burst = excluded.burst, paused = excluded.paused,
            full_at = CASE WHEN (queue.tokens, queue.period, queue.burst)
                = (excluded.tokens, excluded.period, excluded.burst) THEN queue.full_at END""")
    _DROP_QUEUE: Final = Statement("DELETE FROM holdfast.queue WHERE name = $1::text")
    #: Leases from before the limits count from now on. Nobody grants any meanwhile, and those that end need no mark.
    _UNMARKED: Final = """holdfast.job j
            WHERE j.lease_until IS NOT NULL AND j.lease_until > 0 AND j.queue = $1::text AND NOT j.limited"""
    _LOCK_HOLDERS: Final = Statement(
        rows.select(
            """
        SELECT 1 FROM holdfast.run r WHERE r.n = ANY(ARRAY(SELECT j.run FROM {unmarked})) ORDER BY r.n FOR UPDATE""",
            unmarked=_UNMARKED,
        )
    )
    _MARK_LEASES: Final = Statement(
        rows.select(
            """
        UPDATE holdfast.job SET limited = true WHERE ctid = ANY(ARRAY(SELECT j.ctid FROM {unmarked}))""",
            unmarked=_UNMARKED,
        )
    )

    async def set_queue(self, limits: QueueLimits) -> None:
        """Give the queue these limits."""
        change: list[Call] = [(self._DROP_QUEUE, (limits.name,))]
        if limits.has_any:
            rate = limits.rate
            bucket = (None,) * 3 if rate is None else (rate.tokens, encoding.span(rate.period), rate.burst)
            change = [
                (self._SET_QUEUE, (limits.name, limits.concurrency, limits.per_key, *bucket, limits.paused)),
                (self._LOCK_HOLDERS, (limits.name,)),
                (self._MARK_LEASES, (limits.name,)),
            ]

        async def write(wire: Wire) -> None:
            await wire.run((BEGIN, ()), (LOCK_LIMITS_ALONE, ()), *change, (COMMIT, ()))

        await self._access.use(write)

    #: Every live job is looked at, for people.
    _LIST_QUEUES: Final = Statement(
        rows.select(
            """
        SELECT coalesce(x.name, j.queue), x.name IS NOT NULL, coalesce(j.ready, 0), coalesce(j.leased, 0),
            {now} - j.oldest, {columns}
        FROM (
            SELECT queue,
                count(*) FILTER (WHERE status = 'READY' AND due_at <= {now}) AS ready,
                count(*) FILTER (WHERE lease_until > {now}) AS leased,
                min(due_at) FILTER (WHERE status = 'READY' AND due_at <= {now}) AS oldest
            FROM holdfast.job GROUP BY queue
        ) j
        FULL JOIN holdfast.queue x ON x.name = j.queue
        ORDER BY 1""",
            columns=QUEUE_COLUMNS,
        )
    )

    async def list_queues(self) -> Sequence[QueueState]:
        """Return every queue that has limits or live jobs."""
        (found,) = await self._access.read((self._LIST_QUEUES, (self._access.instant(),)))
        return [
            QueueState(
                limits=limits(tuple(row)) if has_limits else QueueLimits(name=name),
                ready=ready,
                leased=leased,
                oldest=None if oldest is None else encoding.duration(oldest),
            )
            for name, has_limits, ready, leased, oldest, *row in found
        ]
