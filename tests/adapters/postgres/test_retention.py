"""Pruning beside others: it waits for nobody, nobody waits for it, and it reads nothing but what it looks at."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest

from holdfast.change import Committed
from holdfast.errors import Rejected
from holdfast.ports.queries import RunFilter
from holdfast.ports.retention import Terms
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.postgres.retention import OF_RUNS, PostgresRetention
from holdfast_adapters.postgres.statements import Statement
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import MANY, SINK, TTL, created, ended, rerun, run_id, started
from tests.adapters.postgres.test_locks import stand, two_stores
from tests.adapters.postgres.test_plans import emptied, plan, whole_tables

__all__ = ["emptied"]

AT_ONCE: Final = Terms(runs=timedelta(), results=timedelta(), operations=timedelta())
STATEMENTS: Final = {
    **{name: each for name, each in vars(PostgresRetention).items() if isinstance(each, Statement)},
    **dict(zip(OF_RUNS, PostgresRetention._DELETE, strict=True)),  # pyright: ignore[reportPrivateUsage]
}


async def end(store: PostgresPersistence, *numbers: int) -> None:
    """Create runs and end them."""
    await stand(store, [change for number in numbers for change in (created(number), started(number), ended(number))])


async def left(store: PostgresPersistence) -> set[str]:
    """Return the ids of the runs that are there."""
    return {run.id for run in await store.list_runs(RunFilter(), limit=MANY)}


@pytest.mark.parametrize("name", [name for name, each in STATEMENTS.items() if b"holdfast." in each.sql])
def test_nothing_is_read_that_is_not_looked_at(emptied: str, name: str) -> None:
    """Every statement finds its rows by an index, planned on empty tables as well; of sinks there are few."""
    if STATEMENTS[name].sql.startswith(b"LOCK"):
        return
    # The first of those that ended are found by the order of the index.
    assert {*whole_tables(plan(emptied, STATEMENTS[name], keys_only=False))} <= {"sink", "sink_pkey", "run_ended"}, name


def test_every_table_of_runs_is_emptied(url: str) -> None:
    """No table with a column for the run is forgotten when its rows are removed."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.columns c JOIN information_schema.tables t "
            "USING (table_schema, table_name) WHERE table_schema = 'holdfast' AND column_name IN ('run', 'run_id') "
            "AND table_type = 'BASE TABLE'"
        ).fetchall()
    assert {name for (name,) in found} == {*OF_RUNS, "stream", "operation"}


def test_a_run_that_somebody_writes_is_passed_over(url: str) -> None:
    """A run whose row is locked stays for the next time, and nothing is waited for."""

    async def main() -> None:
        async with two_stores(url) as (store, _):
            await end(store, 1, 2, 3)
            async with await psycopg.AsyncConnection.connect(url) as holder:
                await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run_id(2),))
                async with asyncio.timeout(5):
                    pruned = await store.prune(AT_ONCE, limit=MANY)
                assert (pruned.run_ids, pruned.looked_at) == ((run_id(1), run_id(3)), 3)
            assert (await store.prune(AT_ONCE, limit=MANY)).run_ids == (run_id(2),)

    asyncio.run(main())


def test_those_who_prune_at_once_share_the_runs(url: str) -> None:
    """Each run is removed by one of them, none is left, and nobody fails."""

    async def main() -> None:
        async with two_stores(url) as stores:
            await end(stores[0], *range(1, 201))

            async def prune(store: PostgresPersistence) -> list[str]:
                gone: list[str] = []
                while (pruned := await store.prune(AT_ONCE, limit=7)).looked_at:
                    gone += pruned.run_ids
                return gone

            given = await asyncio.gather(*(prune(store) for store in stores for _ in range(2)))
            assert sorted(run for gone in given for run in gone) == sorted(run_id(n) for n in range(1, 201))
            assert await left(stores[0]) == set()

    asyncio.run(main())


def test_a_run_is_pruned_or_comes_back_and_never_half_of_each(url: str) -> None:
    """Of a prune and a rerun at one moment one wins: the run is whole and live, or it is gone with all its rows."""

    async def main() -> None:
        async with two_stores(url) as (store, other):
            kept = 0
            for first in range(1, 200, 20):
                numbers = range(first, first + 20)
                await end(store, *numbers)
                reruns, _ = await asyncio.gather(
                    asyncio.gather(*(store.commit([rerun(number)]) for number in numbers)),
                    other.prune(AT_ONCE, limit=MANY),
                )
                back = {
                    run_id(n) for n, (outcome,) in zip(numbers, reruns, strict=True) if isinstance(outcome, Committed)
                }
                assert all(isinstance(outcome, Committed | Rejected) for (outcome,) in reruns)
                there = await left(store)
                assert there & {run_id(n) for n in numbers} == back
                kept += len(back)
            assert len(await left(store)) == kept
            assert await asyncio.to_thread(rows_without_a_run, url) == {}

    asyncio.run(main())


def rows_without_a_run(url: str) -> dict[str, int]:
    """Return how many rows of which table belong to no run."""
    found: dict[str, Any] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for table in (*OF_RUNS, "stream"):
            query = (
                f"SELECT count(*) FROM holdfast.{table} t WHERE NOT EXISTS (SELECT FROM holdfast.run WHERE n = t.run)"
            )
            ((found[table],),) = connection.execute(query.encode()).fetchall()
    return {table: count for table, count in found.items() if count}


def test_a_sink_that_asks_for_the_first_time_leaves_no_stream_without_a_run(url: str) -> None:
    """Streams that are made for a new sink while runs are pruned are of runs that are there."""

    async def main() -> None:
        async with two_stores(url) as (store, other):
            await store.lease_streams(sink=SINK, limit=1, events=1, ttl=TTL)
            for turn in range(5):
                await asyncio.to_thread(forget_sinks, url)
                first = 1 + 40 * turn
                await end(store, *range(first, first + 40))
                await asyncio.gather(
                    *(store.prune(AT_ONCE, limit=5) for _ in range(6)),
                    *(other.lease_streams(sink=f"new {n}", limit=MANY, events=MANY, ttl=TTL) for n in range(3)),
                )
                assert await asyncio.to_thread(rows_without_a_run, url) == {}

    asyncio.run(main())


def forget_sinks(url: str) -> None:
    """Let there be no sink but one that has seen everything."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM holdfast.stream")
        connection.execute("DELETE FROM holdfast.sink")
        connection.execute("UPDATE holdfast.run SET undelivered = NULL")


def test_a_crash_between_batches_loses_nothing(url: str, clock: FakeClock) -> None:
    """What one batch removed is gone and what it did not is whole when the next process goes on."""

    async def main() -> None:
        store = PostgresPersistence(url, clock=clock)
        await store.open()
        await end(store, *range(1, 6))
        await store.prune(AT_ONCE, limit=2)
        # Nothing is said any more: as if it were killed.
        again = PostgresPersistence(url, clock=clock)
        await again.open()
        assert await left(again) == {run_id(n) for n in (3, 4, 5)}
        assert (await again.prune(AT_ONCE, limit=MANY)).looked_at == 3
        await again.close()
        await store.close()

    asyncio.run(main())
