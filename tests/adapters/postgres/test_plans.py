"""Every statement finds its rows by a key, however small the tables were when it was planned."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from holdfast import run_sync
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.postgres.access import KEYS_ONLY_SETTINGS, SETTINGS
from holdfast_adapters.postgres.singles import FIND_SINGLES, LOCK_SINGLES, PASS_TURN, orderly
from holdfast_adapters.postgres.statements import Statement
from holdfast_testing.contracts.samples import created, job, key, started, wanted
from tests.postgres import bridged, create_database, drop_database

#: Modules with statements, and whether they are executed on connections that find everything by whole keys.
WRITERS: Final = ("found", "writes", "rare", "applying")
READERS: Final = (
    *("granting", "work", "journal", "snapshots", "waits", "outbox", "blobs", "queries"),
    *("candidates", "flow", "singles", "queues"),
)
#: Those of the others that are executed so as well.
KEYS_ONLY: Final = {
    *("LEASE_JOBS", "DUE_JOB", "LOCK_RUN", "_LOCK_RUNS", "_EXTEND", "_LOCK_STREAMS", "_SETTLE"),
    *("_LOCK_FREE_RUNS", "_ALL_RUNS", "LOCK_QUEUES_OF", "SET_FULL", "CLOCK_AND_LIMITED"),
}
#: What counts everything there is, for people, and what goes through the sinks, of which there are few.
WHOLE: Final = {
    "_COUNT",
    "_COUNT_RUNS",
    "_LIST_ORPHANS",
    "_LIVE_VERSIONS",
    "_TELL",
    "_ADD_SINK",
    "_NEXT_DUE",
    "_LIST_QUEUES",
}


def statements(*modules: str) -> list[Any]:
    """Return the statements that modules of the adapter define, each with its name as a parameter of a test."""
    found: dict[str, Statement] = {}
    for module in modules:
        space = importlib.import_module(f"holdfast_adapters.postgres.{module}")
        for each in (space, *(value for value in vars(space).values() if isinstance(value, type))):
            found.update({name: value for name, value in vars(each).items() if isinstance(value, Statement)})
    ours = {name: value for name, value in found.items() if b"FROM" in value.sql and b"holdfast." in value.sql}
    return [pytest.param(name, statement, id=name) for name, statement in ours.items()]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.fixture(scope="module")
def emptied() -> Iterator[str]:
    """Give the address of a new database whose tables are known to be empty, the worst moment to plan in."""
    name = f"holdfast_plans_{os.getpid()}"
    drop_database(name)
    url = create_database(name)
    run_sync(bridged(PostgresPersistence(url)).open())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    yield url
    drop_database(name)


def plan(url: str, statement: Statement, *, keys_only: bool) -> list[dict[str, Any]]:
    """Return the nodes of the plan that serves for whatever parameters."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SETTINGS.sql)
        if keys_only:
            connection.execute(KEYS_ONLY_SETTINGS.sql)
        if statement in (PASS_TURN, LOCK_SINGLES, FIND_SINGLES):
            connection.pgconn.exec_(b"BEGIN")
            connection.pgconn.exec_(orderly()[0][0].sql)
        result = connection.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN, FORMAT JSON) " + statement.sql)
        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
        text = result.get_value(0, 0)
    assert text is not None
    return list(nodes(json.loads(text)[0]["Plan"]))


def whole_tables(found: list[dict[str, Any]]) -> list[str]:
    """Return the tables that are gone through from end to end."""
    return [
        str(node.get("Relation Name") or node.get("Index Name"))
        for node in found
        if node["Node Type"] == "Seq Scan"
        or (node["Node Type"] in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"} and "Index Cond" not in node)
    ]


@pytest.mark.parametrize(("name", "statement"), statements(*WRITERS))
def test_what_is_written_is_found_by_whole_keys(emptied: str, name: str, statement: Statement) -> None:
    """No statement that writes goes through a table, or through all rows of one for each row of an array."""
    found = plan(emptied, statement, keys_only=True)
    assert whole_tables(found) == [], name
    for node in found:
        if node["Node Type"] == "Bitmap Index Scan" and node["Index Name"].endswith("_pkey"):
            # A key that lacks its first column finds the rows of all runs; that of a wait has one column.
            first = "id" if node["Index Name"] == "wait_pkey" else r"run|n|tenant|hash|name|\w+\.run|\w+\.n"
            assert re.match(rf"\(\(?\(?({first})\b", node["Index Cond"]), (name, node)


@pytest.mark.parametrize(("name", "statement"), statements(*READERS))
def test_what_is_read_is_found_by_an_index(emptied: str, name: str, statement: Statement) -> None:
    """No statement that reads goes through a table from end to end, but those that count for people."""
    found = whole_tables(plan(emptied, statement, keys_only=name in KEYS_ONLY))
    # The first or last rows of an index are found by its order.
    ordered = {"job_due", "job_unripe", "job_lease", "timer_due", "run_undelivered", "stream_due", "sink_pkey"}
    assert name in WHOLE or set(found) <= ordered, (name, found)


def test_plans_made_while_empty_serve_when_full(url: str) -> None:
    """A batch reads as many index entries from large tables as from empty ones, by plans made while they were empty."""

    async def main() -> tuple[int, int]:
        store = PostgresPersistence(url)
        await store.open()

        async def batch(first: int) -> int:
            before = await asyncio.to_thread(_entries_read, url)
            numbers = range(first, first + 50)
            await store.commit([created(number) for number in numbers])
            await store.commit([started(number, jobs=[job(key(run=number))]) for number in numbers])
            assert len(await store.lease(wanted())) == 50
            await store.next_due()
            # What a connection has counted is told when it ends.
            await store.close()
            await store.open()
            return await asyncio.to_thread(_entries_read, url) - before

        small = await batch(1)
        await asyncio.to_thread(_fill, url)
        large = await batch(1_001)
        await store.close()
        return small, large

    small, large = asyncio.run(main())
    assert large < small * 2


def _fill(url: str) -> None:
    """Add many waiting runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO holdfast.run (n, version, events, created_at, generation, priority, status, id, workflow_id,
                workflow_version, tenant, flow_key)
            SELECT 10000 + n, 1, 0, 0, 1, 5, 'WAITING', 'filler ' || n, 'review', '1.0.0', 'acme', ''
            FROM generate_series(1, 20000) n""")
        connection.execute("""
            INSERT INTO holdfast.job (run, generation, turn, item, priority, epoch, attempt, max_attempts, depth,
                origin, guarded, stage_id, status, workflow_id, workflow_version, queue, tenant, flow_key, weight, ripe)
            SELECT 10000 + n, 1, 0, 0, 5, 0, 0, 1, 1, 1, false, 'a', 'WAITING', 'review', '1.0.0', 'default', 'acme',
                '', 1, true
            FROM generate_series(1, 20000) n""")


def _entries_read(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("""
            SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
            WHERE schemaname = 'holdfast' AND pg_stat_force_next_flush() IS NOT NULL""").fetchone()
    assert row is not None
    return int(row[0])
