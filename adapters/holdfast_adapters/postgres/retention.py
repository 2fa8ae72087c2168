"""Lets go of what is over in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.ports.retention import Place, Pruned, Terms
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import Wire

#: Tables whose rows belong to one run, which their first column or an index names.
OF_RUNS: Final = (
    *("run_payload", "state", "job", "stage", "event", "gate", "item", "timer", "wait", "message", "token", "keyed"),
    *("artifact", "checkpoint", "annotation", "log"),
)


class PostgresRetention:
    """The Retention port on Postgres.

    Nobody waits for it and it waits for nobody: runs that somebody writes just now are passed over, and nothing else of
    a run is locked before its row of `run` is.
    """

    _access: Access

    #: In order of the index, so that nothing is read that is not looked at. What the rows of other tables say is read
    #: behind the lock, so that it is not older than what is deleted.
    _FIND_ENDED: Final = rows.select("""
        SELECT r.n, r.id, r.finished_at, {now}
        FROM holdfast.run r
        WHERE r.finished_at IS NOT NULL AND r.finished_at <= {now} - $2::bigint
            AND (r.finished_at, r.id) > ($3::bigint, $4::text)
        ORDER BY r.finished_at, r.id LIMIT $5::bigint""")
    _LOOK: Final = Statement(_FIND_ENDED)
    #: Waiting for them could end in a circle, and whoever writes them brings them back or has just ended them.
    _LOCK: Final = Statement("""
        SELECT n FROM holdfast.run WHERE n = ANY($1::bigint[]) AND finished_at IS NOT NULL
        ORDER BY n FOR UPDATE SKIP LOCKED""")
    #: A sink that asks for the first time makes streams of runs that it reads without locking them. Nobody does so
    #: while runs are looked at and removed, so that no stream is left without its run.
    _NO_NEW_SINK: Final = Statement("LOCK TABLE holdfast.sink IN SHARE MODE")
    #: Each question is put for each run by itself: behind OFFSET the planner cannot make a join of it, which would
    #: begin with the whole of a table that it took for small.
    _CHOOSE: Final = Statement("""
        SELECT r.n
        FROM unnest($1::bigint[]) looked (n)
        CROSS JOIN LATERAL (SELECT * FROM holdfast.run x WHERE x.n = looked.n OFFSET 0) r
        WHERE r.finished_at <= $2::bigint
            AND NOT EXISTS (
                SELECT 1 FROM holdfast.run p
                WHERE p.id = r.parent AND (p.finished_at IS NULL OR p.finished_at > $2::bigint) OFFSET 0
            )
            AND NOT EXISTS (
                SELECT 1 FROM holdfast.run c
                WHERE c.parent = r.id AND c.parent IS NOT NULL AND c.finished_at IS NULL OFFSET 0
            )
            AND NOT EXISTS (
                SELECT 1 FROM holdfast.sink k WHERE NOT EXISTS (
                    SELECT 1 FROM holdfast.stream s
                    WHERE s.sink = k.name AND s.run = r.n AND s.position >= r.events OFFSET 0
                ) OFFSET 0
            )
            AND (
                r.finished_at <= $3::bigint
                OR NOT EXISTS (SELECT 1 FROM holdfast.keyed h WHERE h.run = r.n AND h.digest IS NOT NULL OFFSET 0)
            )""")
    _FORGET_LATER: Final = Statement("""
        UPDATE holdfast.operation SET forget_at = $2::bigint
        WHERE run_id = ANY(ARRAY(SELECT id FROM holdfast.run WHERE n = ANY($1::bigint[])))""")
    _DELETE_STREAMS: Final = Statement("""
        DELETE FROM holdfast.stream
        WHERE sink = ANY(ARRAY(SELECT name FROM holdfast.sink)) AND run = ANY($1::bigint[])""")
    _DELETE: Final = tuple(
        Statement(f"DELETE FROM holdfast.{table} WHERE run = ANY($1::bigint[])")  # noqa: S608 - our own names
        for table in OF_RUNS
    )
    _DELETE_RUNS: Final = Statement("DELETE FROM holdfast.run WHERE n = ANY($1::bigint[])")

    async def prune(self, terms: Terms, *, limit: int, after: Place | None = None, trial: bool = False) -> Pruned:
        """Remove those of the next runs that ended long enough ago to which nothing refers."""
        end, run_id = (-1, "") if after is None else (encoding.micros(after.finished_at), after.run_id)
        look: Call = (self._LOOK, (self._access.instant(), encoding.span(terms.runs), end, run_id, limit + 1))

        async def prune(wire: Wire) -> Pruned:
            (found,) = await wire.run(look)
            looked_at = found[:limit]
            going = await self._settle(wire, looked_at, terms, trial=trial) if looked_at else set[int]()
            return Pruned(
                run_ids=tuple(row[1] for row in looked_at if row[0] in going),
                looked_at=len(looked_at),
                next=_place(looked_at[-1]) if len(found) > limit else None,
            )

        return await self._access.use(prune)

    async def _settle(self, wire: Wire, runs: Sequence[tuple[Any, ...]], terms: Terms, *, trial: bool) -> set[int]:
        """Return those of *runs* that may go, and remove them unless it is a trial."""
        now = runs[0][3]
        bounds = (now - encoding.span(terms.runs), now - encoding.span(terms.results))
        numbers = [row[0] for row in runs]
        if trial:
            (chosen,) = await wire.run((self._CHOOSE, (numbers, *bounds)))
            return {n for (n,) in chosen}
        _, _, locked = await wire.run((BEGIN, ()), (self._NO_NEW_SINK, ()), (self._LOCK, (numbers,)))
        (chosen,) = await wire.run((self._CHOOSE, ([n for (n,) in locked], *bounds)))
        going = [n for (n,) in chosen]
        steps: list[Call] = []
        if going:
            steps = [
                (self._FORGET_LATER, (going, now + encoding.span(terms.operations))),
                *((statement, (going,)) for statement in (self._DELETE_STREAMS, *self._DELETE, self._DELETE_RUNS)),
            ]
        await wire.run(*steps, (COMMIT, ()))
        return set(going)

    _FORGET: Final = Statement(
        rows.select("""
        DELETE FROM holdfast.operation WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM holdfast.operation WHERE forget_at IS NOT NULL AND forget_at <= {now}
            ORDER BY forget_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED
        )) RETURNING 1""")
    )

    async def forget_operations(self, *, limit: int) -> int:
        """Remove operation records whose time has come."""
        call = (self._FORGET, (self._access.instant(), limit))

        async def write(wire: Wire) -> int:
            (gone,) = await wire.run(call)
            return len(gone)

        return await self._access.use(write)

    #: Whoever tells streams of new events has read the sinks: until they are done nothing is removed, so that no stream
    #: is made for a sink that is not there.
    _ALONE: Final = Statement("LOCK TABLE holdfast.sink IN ACCESS EXCLUSIVE MODE")
    _FORGET_STREAMS: Final = Statement("DELETE FROM holdfast.stream WHERE sink = $1::text")
    _FORGET_SINK: Final = Statement("""
        WITH forgotten AS (DELETE FROM holdfast.sink WHERE name = $1::text RETURNING name),
        noted AS (
            INSERT INTO holdfast.former_sink (name) SELECT name FROM forgotten ON CONFLICT (name) DO NOTHING
        )
        SELECT 1 FROM forgotten""")

    async def forget_sink(self, name: str) -> bool:
        """Forget that the sink has ever asked for events."""
        steps: list[Call] = [(self._FORGET_STREAMS, (name,)), (self._FORGET_SINK, (name,))]

        async def write(wire: Wire) -> bool:
            *_, forgotten, _ = await wire.run((BEGIN, ()), (self._ALONE, ()), *steps, (COMMIT, ()))
            return bool(forgotten)

        return await self._access.use(write)

    _LIST_MISSING: Final = Statement("""
        SELECT asked.id FROM unnest($1::text[]) WITH ORDINALITY asked (id, place)
        WHERE NOT EXISTS (SELECT 1 FROM holdfast.run r WHERE r.id = asked.id OFFSET 0) ORDER BY asked.place""")

    async def list_missing(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Return those of which there is no run."""
        (found,) = await self._access.read((self._LIST_MISSING, (list(run_ids),)))
        return [run_id for (run_id,) in found]


def _place(row: tuple[Any, ...]) -> Place:
    _, run_id, finished_at, _ = row
    return Place(finished_at=encoding.instant(finished_at), run_id=run_id)
