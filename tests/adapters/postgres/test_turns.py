"""A claim costs the same however much is queued, blocked, delayed or somebody else's turn."""

from __future__ import annotations

import asyncio
from typing import Final

import psycopg
import pytest

from holdfast.entities.queue import QueueLimits
from holdfast.entities.run import RunHeader
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.postgres.turns import REMEMBERED, TOLD, Turns, behind
from holdfast_testing.contracts.samples import KNOWN, created, run_id, wanted
from holdfast_testing.contracts.turns import begun, owned_by
from tests.adapters.postgres.test_locks import stand

#: Numbers of the runs that are there beside the crowd.
FEW: Final = range(1, 31)
QUEUES: Final = frozenset({"default", "slow"})
#: A claim of one job looks at so many entries of indexes at most, whatever there is.
MOST_READ: Final = 40

FILL_RUNS: Final = """
    INSERT INTO holdfast.run (n, version, events, created_at, generation, priority, status, active, id, workflow_id,
        workflow_version, tenant, flow_key)
    SELECT 10000 + n, 1, 0, 0, 1, 5, 'RUNNING', 1, 'filler ' || n, 'review', '1.0.0', 'big', ''
    FROM generate_series(1, %(number)s) n"""
FILL_PAYLOADS: Final = """
    INSERT INTO holdfast.run_payload (run, config, input_digest, input_size, compensates)
    SELECT 10000 + n, '{}', '', 0, false FROM generate_series(1, %(number)s) n"""
#: Of ten jobs one waits in a queue without limits, one in a full key of another, one is suspended and due later, and
#: seven are delayed, each of a key of its own.
FILL_JOBS: Final = """
    INSERT INTO holdfast.job (run, generation, turn, item, priority, epoch, attempt, max_attempts, depth, origin,
        guarded, stage_id, status, workflow_id, workflow_version, queue, tenant, flow_key, weight, due_at, ripe)
    SELECT 10000 + n, 1, 0, 0, 5, 0, 0, 1, 1, 1, false, 'a',
        CASE WHEN n %% 10 = 2 THEN 'SUSPENDED' ELSE 'READY' END, 'review', '1.0.0',
        CASE WHEN n %% 10 = 1 THEN 'slow' ELSE 'default' END, 'big',
        CASE WHEN n %% 10 = 1 THEN 'full' WHEN n %% 10 > 2 THEN 'key ' || n ELSE '' END, 1,
        CASE WHEN n %% 10 < 2 THEN 1 ELSE 4000000000000000 END, n %% 10 < 2
    FROM generate_series(1, %(number)s) n"""


def fill(url: str, number: int) -> None:
    """Add a crowd of jobs."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (FILL_RUNS, FILL_PAYLOADS, FILL_JOBS):
            connection.execute(statement, {"number": number})
        connection.execute("ANALYZE holdfast.job, holdfast.run")


def read_by_claims(url: str) -> int:
    """Return how many entries of the indexes of jobs and queues have been read."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("""
            SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
            WHERE schemaname = 'holdfast' AND relname IN ('job', 'queue') AND pg_stat_force_next_flush() IS NOT NULL
        """).fetchone()
    assert row is not None
    return int(row[0])


def owner(number: int) -> RunHeader:
    """Return the header of one of the few, which have three tenants and two keys each."""
    return owned_by(number, ("alf", "big", "zoe")[number % 3], ("", "x")[number % 2])


@pytest.mark.parametrize("number", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_crowd_costs_a_claim_nothing(own: str, number: int) -> None:
    """Claims find the few among many due, blocked, suspended and delayed jobs by a few looks into the indexes."""

    async def main() -> None:
        store = PostgresPersistence(own)
        await store.open()
        await store.set_queue(QueueLimits(name="slow", per_key=1))
        for each in FEW:
            await stand(store, begun(owner(each), queue="slow" if each > 20 else "default"))
        await asyncio.to_thread(fill, own, number)
        # The one of the full key that may be leased.
        holder = await store.lease_one((await store.list_stages("filler 1"))[0].key, worker="w", ttl=wanted().ttl)
        assert holder is not None
        got: list[int] = []
        for request in (wanted(limit=1, queues=QUEUES), wanted(limit=3, queues=QUEUES)):
            for _ in range(6):
                got += await _claimed(store, own, request, most=MOST_READ * request.limit)
        # In every round of turns each tenant has had one, and of the crowd's tenant no more than of the others.
        assert sum(each in FEW for each in got) >= 12
        assert await store.next_due() is not None
        await store.close()

    asyncio.run(main())


async def _claimed(store: PostgresPersistence, url: str, request: LeaseRequest, *, most: int) -> list[int]:
    # What a connection has counted is told when it ends.
    await store.close()
    before = await asyncio.to_thread(read_by_claims, url)
    await store.open()
    leases = await store.lease(request)
    await store.close()
    read = await asyncio.to_thread(read_by_claims, url) - before
    await store.open()
    assert len(leases) == request.limit
    assert read <= most, read
    return [int(lease.key.run_id.removeprefix("filler ")[-12:]) for lease in leases]


FILL_PENDING: Final = """
    INSERT INTO holdfast.run (n, version, events, created_at, generation, priority, status, id, workflow_id,
        workflow_version, tenant, flow_key)
    SELECT 10000 + n, 1, 0, 0, 1, 5, 'PENDING', 'filler ' || n, 'review', '1.0.0', 'big', ''
    FROM generate_series(1, 20000) n"""


def test_a_crowd_of_pending_runs_holds_nobody_up(url: str) -> None:
    """Runs of other tenants are listed in their turn, and the crowd before them is not gone through."""

    async def main() -> None:
        store = PostgresPersistence(url)
        await store.open()
        await stand(store, [created(number, head=owned_by(number, tenant)) for number, tenant in ((1, "a"), (2, "z"))])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL_PENDING)
            connection.execute(
                "INSERT INTO holdfast.run_payload (run, config, input_digest, input_size, compensates) "
                "SELECT n, '{}', '', 0, false FROM holdfast.run WHERE n > 10000"
            )
        listed = [[run.id for run in await store.list_pending(limit=1, known=KNOWN)] for _ in range(4)]
        assert listed == [[run_id(1)], ["filler 1"], [run_id(2)], [run_id(1)]]
        await store.close()

    asyncio.run(main())


def test_keys_are_remembered_for_more_tenants_than_a_query_is_told_of(url: str) -> None:
    """Each of many tenants goes on behind the key that had its turn, in whatever order tenants come."""

    async def main() -> None:
        store = PostgresPersistence(url)
        await store.open()
        tenants = [f"t{number:03}" for number in range(TOLD + 20)]
        heads = [
            owned_by(3 * place + which + 1, tenant, key)
            for place, tenant in enumerate(tenants)
            for which, key in enumerate("xxy")
        ]
        for side in range(2):
            await stand(store, [begun(head)[side] for head in heads])
        first = [(await store.lease(wanted(limit=1)))[0].run for _ in tenants]
        assert [(run.tenant, run.concurrency_key) for run in first] == [(tenant, "x") for tenant in tenants]
        # More than the query is told of at first.
        rest = [lease.run for lease in await store.lease(wanted(limit=2 * len(tenants)))]
        assert [(run.tenant, run.concurrency_key) for run in rest] == [(each, key) for each in tenants for key in "yx"]
        await store.close()

    asyncio.run(main())


def test_turns_forget_the_longest_unserved() -> None:
    """For a bounded number of tenants it is remembered which key had its turn; whose turn it is stays known."""
    turns = Turns()
    for number in range(REMEMBERED + 5):
        turns.served(f"t{number:06}", "x")
    everybody = [f"t{number:06}" for number in range(REMEMBERED + 5)]
    assert turns.seen(everybody).keys.keys() == set(everybody[5:])
    assert turns.seen().parameters()[0] == behind(everybody[-1])
    assert list(turns.seen().keys) == everybody[5 : 5 + TOLD]


def test_turns_go_round() -> None:
    """A query is told of those whose turn comes next, behind the last the first."""
    turns = Turns()
    for number in range(TOLD):
        turns.served(f"t{number:03}", "x")
    turns.served(f"t{TOLD - 10:03}", "y")
    assert turns.is_plain is False
    told = list(turns.seen().keys)
    assert told[:10] == [f"t{number:03}" for number in (*range(TOLD - 9, TOLD), 0)]
    assert len(told) == TOLD
