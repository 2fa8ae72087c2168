"""Who writes to the same runs at the same moment waits for the others in one direction only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import psycopg
import pytest

from holdfast.change import Change, Committed, NewRun, Step
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease
from holdfast.ports.work import LeaseRef
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.samples import (
    TTL,
    completed,
    created,
    ended,
    header,
    job,
    key,
    moved,
    noted,
    operation,
    ready_event,
    reserved,
    run_id,
    started,
    wanted,
)

RUNS = 12


@asynccontextmanager
async def two_stores(url: str) -> AsyncGenerator[tuple[PostgresPersistence, PostgresPersistence]]:
    """Open the database as two processes do."""
    stores = PostgresPersistence(url), PostgresPersistence(url)
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


def deadlocks(url: str) -> int:
    """Return how many circles of waiting the server has had to break in this database."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("""
            SELECT deadlocks FROM pg_stat_database
            WHERE datname = current_database() AND pg_stat_force_next_flush() IS NOT NULL""").fetchone()
    assert row is not None
    return int(row[0])


async def stand(store: PostgresPersistence, changes: Sequence[Change]) -> None:
    """Commit *changes*, all of which must stand."""
    for outcome in await store.commit(changes):
        assert isinstance(outcome, Committed), outcome


def children(number: int) -> list[Change]:
    """Return what creates and starts children of the *number*-th run."""
    made: list[Change] = []
    for child in range(number * 100, number * 100 + 3):
        new = created(child)
        assert isinstance(new.create, NewRun)
        head = attrs.evolve(header(child), parent_id=run_id(number))
        made += [attrs.evolve(new, create=attrs.evolve(new.create, header=head)), started(child)]
    return made


def goes_on(lease: Lease) -> Step:
    """Return the step that makes another job of the run, so that there is always one to claim."""
    new = job(attrs.evolve(lease.key, item=lease.key.item + 1))
    return Step(jobs=(new,), events=(ready_event(new.key),))


def test_writers_in_opposite_orders_never_wait_in_a_circle(url: str) -> None:
    """Batches over the same runs in opposite orders, claims, extensions, ends beside them: nobody has to give way."""
    before = deadlocks(url)

    async def main() -> None:
        async with two_stores(url) as (one, other):
            numbers = range(1, RUNS + 1)
            await stand(one, [change for number in numbers for change in (created(number), started(number))])
            await stand(one, [change for number in numbers for change in children(number)])
            done = asyncio.Event()

            async def note(store: PostgresPersistence, order: Sequence[int]) -> None:
                for _ in range(25):
                    await stand(store, [noted(number) for number in order])

            async def claim(store: PostgresPersistence) -> None:
                while not done.is_set():
                    leases = await store.lease(wanted(limit=5))
                    refs = [LeaseRef(key=lease.key, epoch=lease.epoch) for lease in leases]
                    await asyncio.gather(
                        store.extend(refs[::-1], ttl=TTL),
                        store.commit([completed(lease, step=goes_on(lease)) for lease in leases]),
                        store.extend(refs, ttl=TTL),
                    )

            async def deliver(store: PostgresPersistence) -> None:
                while not done.is_set():
                    await store.lease_streams(sink=f"sink {id(store)}", limit=5, events=10, ttl=TTL)

            beside = [asyncio.create_task(act(store)) for act in (claim, deliver) for store in (one, other)]
            await asyncio.gather(note(one, numbers), note(other, numbers[::-1]))
            ends = [ended(number, status=RunStatus.FAILED) for number in (*numbers[::2], *range(300, 303))]
            await asyncio.gather(stand(one, ends), note(other, numbers[1::2]))
            done.set()
            await asyncio.gather(*beside)

    asyncio.run(main())
    assert deadlocks(url) == before


Act = Callable[[PostgresPersistence], Awaitable[object]]


@pytest.mark.parametrize("second", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("first", [0, 1, 2, 3, 4])
def test_two_acts_on_one_run_come_one_after_the_other(url: str, first: int, second: int) -> None:
    """Whatever two processes do to one run at once, both get through while a third lets go of it."""

    async def main() -> None:
        async with two_stores(url) as (one, other):
            await stand(one, [created(), started(jobs=[job(key(name)) for name in "abcd"])])
            leases = await one.lease(wanted(limit=2))
            refs = [LeaseRef(key=lease.key, epoch=lease.epoch) for lease in leases]
            acts: Sequence[Act] = (
                lambda store: store.commit([noted()]),
                lambda store: store.commit([completed(lease) for lease in leases]),
                lambda store: store.lease(wanted()),
                lambda store: store.extend(refs, ttl=TTL),
                lambda store: store.commit([moved(status=RunStatus.PAUSED), ended()]),
            )
            async with await psycopg.AsyncConnection.connect(url) as holder:
                await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run_id(),))
                both = [asyncio.create_task(_do(acts[first], one)), asyncio.create_task(_do(acts[second], other))]
                await blocked(url, 2)
                await holder.rollback()
            async with asyncio.timeout(5):
                await asyncio.gather(*both)

    before = deadlocks(url)
    asyncio.run(main())
    assert deadlocks(url) == before


async def _do(act: Act, store: PostgresPersistence) -> None:
    await act(store)


async def blocked(url: str, number: int) -> None:
    """Return when so many connections wait for a lock."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        async with asyncio.timeout(5):
            while True:
                row = await (
                    await connection.execute("""
                        SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'""")
                ).fetchone()
                if row == (number,):
                    return


def test_the_same_key_is_given_to_one_of_two(url: str) -> None:
    """Of two processes that record one operation, create one run or take one key at once, one gets it."""

    async def main() -> None:
        async with two_stores(url) as stores:
            for number in range(1, 20):
                made = [
                    attrs.evolve(created(number + 100 * (side + 1)), operations=(operation(f"op {number}"),))
                    for side in range(2)
                ]
                outcomes = await asyncio.gather(
                    *(store.commit([each]) for store, each in zip(stores, made, strict=True))
                )
                kinds = sorted(type(outcome).__name__ for (outcome,) in outcomes)
                assert kinds == ["Committed", "Duplicate"]
                same = await asyncio.gather(*(store.commit([created(number)]) for store in stores))
                assert sorted(type(outcome).__name__ for (outcome,) in same) == ["Committed", "StaleVersion"]
                await stand(stores[0], [created(number + 1_000), started(number), started(number + 1_000)])
                leases = await stores[0].lease(wanted())
                assert len(leases) == 2
                taken = await asyncio.gather(
                    *(
                        store.commit([reserved(lease, name=f"k{number}")])
                        for store, lease in zip(stores, leases, strict=True)
                    )
                )
                assert sorted(type(outcome).__name__ for (outcome,) in taken) == ["Committed", "Held"]

    asyncio.run(main())
