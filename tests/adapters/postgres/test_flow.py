"""Limits hold at every instant, whoever claims, grants, extends or changes them at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any, Final

import attrs
import psycopg

from holdfast.change import Committed, Grant, Step
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.stage import Lease, StageStatus
from holdfast.ports.work import LeaseRef
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.samples import (
    TTL,
    completed,
    created,
    job,
    key,
    ready_event,
    run_id,
    started,
    wanted,
)
from holdfast_testing.contracts.turns import begun, owned_by
from tests.adapters.postgres.test_locks import blocked, deadlocks, stand

#: Items that no job has had yet.
_ITEMS: Final = count(1)
#: Leases that count by tenant and key, as one look at the database sees them.
LIVE: Final = """
    SELECT tenant, flow_key, limited, lease_until FROM holdfast.job
    WHERE lease_until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"""


@asynccontextmanager
async def stores(url: str, number: int = 3) -> AsyncGenerator[Sequence[PostgresPersistence]]:
    """Open the database as several processes do."""
    opened = [PostgresPersistence(url) for _ in range(number)]
    for store in opened:
        await store.open()
    yield opened
    for store in opened:
        await store.close()


async def beside(url: str, look: Callable[[list[tuple[Any, ...]]], None], work: Sequence[Awaitable[None]]) -> int:
    """Do the work while *look* is shown the live leases over and over; return how often it was."""
    looks = 0
    done = asyncio.gather(*work)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while not done.done():
            look(await (await connection.execute(LIVE)).fetchall())
            looks += 1
    await done
    return looks


def test_no_more_are_leased_than_the_limits_at_any_instant(url: str) -> None:
    """Of jobs that several processes claim at once, never more are leased than the queue and each key allow."""
    before = deadlocks(url)
    held: Counter[str] = Counter()

    async def main() -> None:
        async with stores(url) as opened:
            first = opened[0]
            await first.set_queue(QueueLimits(name="default", concurrency=4, per_key=2))
            for number in range(1, 61):
                await stand(first, begun(owned_by(number, "t", "xyz"[number % 3])))
            left = set(range(1, 61))

            async def work(store: PostgresPersistence) -> None:
                while left:
                    leases = list(await store.lease(wanted(limit=3)))
                    one = await store.lease_one(key(run=next(iter(left), 1)), worker="w", ttl=TTL)
                    leases += [one] if one is not None else []
                    held.update(lease.run.concurrency_key for lease in leases)
                    assert held.total() <= 4
                    assert all(number <= 2 for number in held.values())
                    refs = [LeaseRef(key=lease.key, epoch=lease.epoch) for lease in leases]
                    assert await store.extend(refs, ttl=TTL) == []
                    for lease in leases:
                        # It may make room as soon as it is handed in.
                        held[lease.run.concurrency_key] -= 1
                        left.discard(int(lease.key.run_id[-12:]))
                        await stand(store, [completed(lease)])

            def look(rows: list[tuple[Any, ...]]) -> None:
                assert len(rows) <= 4
                assert all(number <= 2 for number in Counter(row[:2] for row in rows).values())
                assert all(limited for _, _, limited, _ in rows)

            assert await beside(url, look, [work(store) for store in opened for _ in range(2)]) > 10
            (state,) = await first.list_queues()
            assert (state.ready, state.leased) == (0, 0)

    asyncio.run(main())
    assert deadlocks(url) == before


def test_a_rate_holds_among_processes(url: str) -> None:
    """Within any period no more jobs begin than the burst and the tokens of the rate together."""
    rate = Rate(tokens=4, period=timedelta(milliseconds=200), burst=2)

    async def main() -> None:
        async with stores(url) as opened:
            await opened[0].set_queue(QueueLimits(name="default", rate=rate))
            await stand(opened[0], [created(), started(jobs=[job(key(item=item)) for item in range(14)])])
            begun_at: list[int] = []

            async def work(store: PostgresPersistence) -> None:
                while len(begun_at) < 14:
                    for lease in await store.lease(wanted(limit=3)):
                        stage = await store.find_stage(lease.key)
                        assert stage is not None
                        assert stage.started_at is not None
                        begun_at.append(round(stage.started_at.timestamp() * 1_000_000))

            await asyncio.gather(*(work(store) for store in opened))
            begun_at.sort()
            period = rate.period // timedelta(microseconds=1)
            most = rate.tokens + rate.burst
            assert all(later - earlier > period for earlier, later in zip(begun_at, begun_at[most:], strict=False))
            # Nor were they much slower than they might be: the bucket lost no tokens.
            assert begun_at[-1] - begun_at[0] < 4 * period

    asyncio.run(main())


def test_limits_that_change_are_heeded_by_what_begins_after_them(url: str) -> None:
    """While grants and claims go on everywhere, a limit that was set is never gone beyond by a new lease."""
    before = deadlocks(url)

    async def main() -> None:
        async with stores(url) as opened:
            first = opened[0]
            for number in range(1, 7):
                await stand(first, [created(number), started(number)])
            done = asyncio.Event()

            async def work(store: PostgresPersistence) -> None:
                leases: list[Lease] = []
                while not done.is_set():
                    leases = leases or list(await store.lease(wanted(limit=2)))
                    fan = 2 if len(leases) < 6 else 1
                    leases = [lease for each in leases for lease in await _go_on(store, each, fan=fan)]

            async def change(store: PostgresPersistence) -> None:
                for _ in range(10):
                    await store.set_queue(QueueLimits(name="default", concurrency=3))
                    most = 1_000
                    for _ in range(8):
                        (state,) = await store.list_queues()
                        assert state.leased <= most
                        assert await _uncounted(url) == 0
                        most = max(3, state.leased)
                    await store.set_queue(QueueLimits(name="default"))
                    await asyncio.gather(*(store.lease(wanted(limit=2)) for _ in range(3)))
                done.set()

            await asyncio.gather(change(opened[-1]), *(work(store) for store in opened))

    asyncio.run(main())
    assert deadlocks(url) == before


async def _go_on(store: PostgresPersistence, lease: Lease, *, fan: int) -> list[Lease]:
    """Complete the job and return the leases on the next ones of the run, if they were granted with it."""
    at = [attrs.evolve(lease.key, item=next(_ITEMS)) for _ in range(fan)]
    jobs = tuple(job(each, grant=Grant(worker="w1", ttl=TTL)) for each in at)
    step = Step(jobs=jobs, events=tuple(ready_event(each) for each in at))
    (outcome,) = await store.commit([completed(lease, step=step)])
    assert isinstance(outcome, Committed)
    if outcome.withheld:
        return []
    return [attrs.evolve(lease, key=each, epoch=1, attempt=1, status=StageStatus.READY) for each in at]


async def _uncounted(url: str) -> int:
    """Return how many leases do not count against limits."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT count(*) FROM holdfast.job WHERE lease_until IS NOT NULL AND NOT limited"
        )
        ((number,),) = await found.fetchall()
    return int(number)


def test_limits_wait_for_grants_under_way(url: str) -> None:
    """Limits are set when the change-sets that grant leases without them have ended, whose leases then count."""

    async def main() -> None:
        async with stores(url, 2) as (one, other):
            await stand(one, [created()])
            granted = job(grant=Grant(worker="w1", ttl=TTL))
            async with _held(url) as let_go:
                granting = asyncio.create_task(one.commit([started(jobs=[granted])]))
                await blocked(url, 1)
                limiting = asyncio.create_task(other.set_queue(QueueLimits(name="default", concurrency=1)))
                await blocked(url, 2)
                await let_go()
            (outcome,) = await granting
            assert isinstance(outcome, Committed)
            assert not outcome.withheld
            await limiting
            assert await _uncounted(url) == 0

    asyncio.run(main())


def test_a_claim_waits_for_extensions_under_way(url: str) -> None:
    """While a lease is being extended nobody looks whether its place is free."""

    async def main() -> None:
        async with stores(url, 2) as (one, other):
            await one.set_queue(QueueLimits(name="default", concurrency=1))
            await stand(one, [created(), started(), created(2), started(2)])
            (lease,) = await one.lease(wanted(limit=1))
            async with _held(url) as let_go:
                refs = [LeaseRef(key=lease.key, epoch=lease.epoch)]
                extending = asyncio.create_task(one.extend(refs, ttl=TTL))
                await blocked(url, 1)
                claiming = asyncio.create_task(other.lease(wanted()))
                await blocked(url, 2)
                await let_go()
            assert await extending == []
            assert await claiming == []

    asyncio.run(main())


@asynccontextmanager
async def _held(url: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Keep the first run locked until what is given is called."""
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run_id(),))
        yield holder.rollback


def test_a_place_is_not_given_away_and_kept(url: str) -> None:
    """Of a lease that ends and is extended while its place is wanted, either the one or the other comes about."""
    ttl = timedelta(milliseconds=3)

    async def main() -> None:
        async with stores(url, 2) as (one, other):
            await one.set_queue(QueueLimits(name="default", concurrency=1))
            await stand(one, [created(), started(jobs=[job(key(name)) for name in "ab"])])
            kept = given = 0
            for _ in range(60):
                lease = await one.lease_one(key("a"), worker="w1", ttl=ttl)
                assert lease is not None
                ref = LeaseRef(key=lease.key, epoch=lease.epoch)
                lost, taken = await asyncio.gather(_extend_late(one, ref), other.lease(wanted(limit=1)))
                assert lost or not taken
                kept, given = kept + (not lost), given + bool(taken)
                await _start_over(url)
            assert kept + given > 0

    asyncio.run(main())


async def _extend_late(store: PostgresPersistence, ref: LeaseRef) -> bool:
    """Extend the lease by little until it nearly ends, then by long; return whether it was lost."""
    for _ in range(3):
        if await store.extend([ref], ttl=timedelta(milliseconds=1)):
            return True
    return bool(await store.extend([ref], ttl=TTL))


async def _start_over(url: str) -> None:
    """Let both jobs be READY again."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE holdfast.job SET status = 'READY', lease_until = NULL, due_at = 1, ripe = true"
        )
