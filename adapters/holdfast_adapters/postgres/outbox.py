"""Hands out undelivered events from Postgres.

A commit does not know the sinks. It notes on the run since when it has events that no stream was told of, once, and
whoever leases streams next tells the streams of all known sinks and takes the note away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from holdfast.ports.outbox import Delivery, Stream
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.statements import Statement, with_rows
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import Wire

#: Runs whose streams are told of new events, or made for a new sink, in one call at most.
MOST_TOLD: Final = 1_000


class PostgresOutbox:
    """The Outbox port on Postgres.

    Rows of streams are always written in order of run, then of sink, so that nobody waits for each other in a circle.
    """

    _access: Access

    _FIND_SINK: Final = Statement("SELECT backfill FROM holdfast.sink WHERE name = $1::text")
    #: The first sink finds every run still marked; a later one has to be given those that were told already.
    _ADD_SINK: Final = Statement("""
        INSERT INTO holdfast.sink (name, backfill)
        SELECT $1::text, CASE
            WHEN EXISTS (SELECT 1 FROM holdfast.sink) OR EXISTS (SELECT 1 FROM holdfast.former_sink) THEN 0
        END
        ON CONFLICT (name) DO NOTHING""")
    #: Two who add the first two sinks at once must not both take theirs for the first.
    _ONE_AT_A_TIME: Final = Statement("LOCK TABLE holdfast.sink IN SHARE ROW EXCLUSIVE MODE")
    _LOCK_SINK: Final = Statement("SELECT backfill FROM holdfast.sink WHERE name = $1::text FOR UPDATE")
    _BACKFILL: Final = Statement("""
        WITH next AS (SELECT n, events, created_at FROM holdfast.run WHERE n > $2::bigint ORDER BY n LIMIT $3::bigint),
        made AS (
            INSERT INTO holdfast.stream (sink, run, due_at)
            SELECT $1::text, n, created_at FROM next WHERE events > 0 ORDER BY n
            ON CONFLICT (sink, run) DO NOTHING
        )
        UPDATE holdfast.sink SET backfill = (SELECT max(n) FROM next) WHERE name = $1::text""")

    #: Runs that somebody writes to just now are told of the next time: nobody waits for them.
    _TAKE_MARKED: Final = Statement("""
        SELECT n, undelivered FROM holdfast.run
        WHERE undelivered IS NOT NULL ORDER BY undelivered, n LIMIT $1::bigint
        FOR UPDATE SKIP LOCKED""")
    #: A stream that is leased, delayed, parked or waiting already stays as it is.
    _TELL: Final = Statement("""
        INSERT INTO holdfast.stream (sink, run, due_at)
        SELECT sink.name, marked.n, marked.undelivered
        FROM unnest($1::bigint[], $2::bigint[]) marked (n, undelivered)
        CROSS JOIN holdfast.sink
        ORDER BY marked.n, sink.name
        ON CONFLICT (sink, run) DO UPDATE SET due_at = excluded.due_at
        WHERE stream.due_at IS NULL AND NOT stream.parked
            AND stream.position < (SELECT events FROM holdfast.run WHERE n = excluded.run)""")
    _UNMARK: Final = Statement("UPDATE holdfast.run SET undelivered = NULL WHERE n = ANY($1::bigint[])")

    _FIND_DUE: Final = Statement(
        rows.select("""
        SELECT {now}, s.run, r.id, s.epoch, s.position, s.failures
        FROM holdfast.stream s {run_of_s}
        WHERE s.sink = $2::text AND s.due_at IS NOT NULL AND s.due_at <= {now}
        ORDER BY s.due_at, s.run LIMIT $3::bigint
        FOR UPDATE OF s SKIP LOCKED""")
    )
    #: Stream by stream in the order given, until there are enough: nothing is sorted, so that nothing more is read.
    _FIND_EVENTS: Final = Statement(
        rows.select("""
        SELECT due.run, told.*
        FROM unnest($1::bigint[], $2::bigint[]) due (run, position)
        CROSS JOIN LATERAL (
            SELECT {event} FROM holdfast.event e
            WHERE e.run = due.run AND e.number > due.position ORDER BY e.number LIMIT $3::bigint
        ) told
        LIMIT $3::bigint""")
    )
    _LEASE: Final = Statement("""
        UPDATE holdfast.stream SET epoch = epoch + 1, held = true, due_at = $1::bigint
        WHERE sink = $2::text AND run = ANY($3::bigint[])""")

    async def lease_streams(self, *, sink: str, limit: int, events: int, ttl: timedelta) -> Sequence[Stream]:
        """Lease streams with undelivered events, longest waiting first."""
        now = self._access.instant()
        await self._access.use(lambda wire: self._tell(wire, sink))

        async def lease(wire: Wire) -> Sequence[Stream]:
            _, due = await wire.run((BEGIN, ()), (self._FIND_DUE, (now, sink, min(limit, events))))
            if not due:
                await wire.run((COMMIT, ()))
                return []
            streams = [row[1:] for row in due]
            asked = ([row[0] for row in streams], [row[3] for row in streams], events)
            (found,) = await wire.run((self._FIND_EVENTS, asked))
            by_run: dict[int, list[tuple[Any, ...]]] = {}
            for run, *event in found:
                by_run.setdefault(run, []).append(tuple(event))
            until = due[0][0] + encoding.span(ttl)
            await wire.run((self._LEASE, (until, sink, list(by_run))), (COMMIT, ()))
            return [
                Stream(
                    run_id=run_id,
                    sink=sink,
                    epoch=epoch + 1,
                    position=position,
                    failures=failures,
                    events=tuple(rows.event(run_id, row) for row in by_run[run]),
                )
                for run, run_id, epoch, position, failures in streams
                if run in by_run
            ]

        return await self._access.use(lease)

    async def _tell(self, wire: Wire, sink: str) -> None:
        """Bring the streams up to what has been committed, in bounded steps."""
        (known,) = await wire.run((self._FIND_SINK, (sink,)))
        if not known:
            await wire.run((BEGIN, ()), (self._ONE_AT_A_TIME, ()), (self._ADD_SINK, (sink,)), (COMMIT, ()))
            (known,) = await wire.run((self._FIND_SINK, (sink,)))
        if known[0][0] is not None:
            # In a transaction of its own, so that it does not write streams of one run after those of another.
            _, ((backfill,),) = await wire.run((BEGIN, ()), (self._LOCK_SINK, (sink,)))
            step = [] if backfill is None else [(self._BACKFILL, (sink, backfill, MOST_TOLD))]
            await wire.run(*step, (COMMIT, ()))
        _, marked = await wire.run((BEGIN, ()), (self._TAKE_MARKED, (MOST_TOLD,)))
        if marked:
            numbers = ([n for n, _ in marked],)
            await wire.run(with_rows(self._TELL, marked), (self._UNMARK, numbers), (COMMIT, ()))
        else:
            await wire.run((COMMIT, ()))

    #: Locked before they are written, in a statement of its own: the next one then sees every event that anybody could
    #: have been told of meanwhile. A stream that is put to rest with an event it did not see would never be looked at.
    _LOCK_STREAMS: Final = Statement("""
        SELECT 1 FROM holdfast.stream s
        WHERE (s.sink, s.run) IN (
            SELECT v.sink, r.n FROM unnest($1::text[], $2::text[]) v (sink, id)
            JOIN holdfast.run r ON r.id = v.id OFFSET 0
        )
        ORDER BY s.run, s.sink FOR UPDATE""")
    _SETTLE: Final = Statement("""
        UPDATE holdfast.stream s
        SET position = v.position, failures = v.failures, error = v.error, parked = v.parked, held = false,
            due_at = CASE WHEN NOT v.parked AND v.position < v.events
                THEN coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) + v.delay END
        FROM (
            SELECT r.n, r.events, v.* FROM unnest(
                $2::integer[], $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::integer[], $8::text[],
                $9::boolean[], $10::bigint[]
            ) v (place, sink, id, epoch, position, failures, error, parked, delay)
            JOIN holdfast.run r ON r.id = v.id OFFSET 0
        ) v
        WHERE s.sink = v.sink AND s.run = v.n AND s.epoch = v.epoch AND s.held
        RETURNING v.place""")

    async def settle_streams(self, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        """Store positions and release leases."""
        if not deliveries:
            await self._access.use(_nothing)
            return []
        given = [
            (
                place,
                each.sink,
                each.run_id,
                each.epoch,
                each.position,
                each.failures,
                each.error,
                each.parked,
                encoding.span(each.delay),
            )
            for place, each in enumerate(deliveries)
        ]
        streams = ([each.sink for each in deliveries], [each.run_id for each in deliveries])
        settle = (self._SETTLE, (self._access.instant(), *zip(*given, strict=True)))

        async def write(wire: Wire) -> set[int]:
            settled = (await wire.run((BEGIN, ()), (self._LOCK_STREAMS, streams), settle, (COMMIT, ())))[2]
            return {place for (place,) in settled}

        held = await self._access.write(write)
        return [place in held for place in range(len(deliveries))]

    #: An array, because it is made once: a query behind IN could be carried out anew for each row, with other locks.
    _REPLAY: Final = Statement(
        rows.select("""
        UPDATE holdfast.stream SET parked = false, failures = 0, due_at = {now}
        WHERE sink = $2::text AND run = ANY(ARRAY(
            SELECT run FROM holdfast.stream WHERE sink = $2::text AND parked ORDER BY run LIMIT $3::bigint
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING run""")
    )

    async def replay_parked(self, *, sink: str, limit: int) -> int:
        """Make parked streams due again."""

        async def write(wire: Wire) -> int:
            (replayed,) = await wire.run((self._REPLAY, (self._access.instant(), sink, limit)))
            return len(replayed)

        return await self._access.use(write)


async def _nothing(_: Wire) -> None:
    """Do nothing with a connection, so that a closed store is told of."""
