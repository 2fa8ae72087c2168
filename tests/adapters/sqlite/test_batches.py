"""What arrives while the writer is busy becomes one transaction, whoever sent it and from wherever."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from holdfast.change import PENDING, Change, Committed, Duplicate, Step
from holdfast.driving import run_sync
from holdfast.errors import StoreUnavailable
from holdfast.events import EventType, NewEvent
from holdfast.ports.work import LeaseRef
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.sqlite.lanes import FULL_BATCH
from holdfast_testing.contracts.samples import (
    MANY,
    TTL,
    begin,
    completed,
    created,
    ended,
    events_of,
    key,
    noted,
    operation,
    run_id,
    stand,
    take,
    the_run,
    wanted,
)
from tests.adapters.sqlite.busy import busy, gathered, transactions, waiting


def test_what_arrives_meanwhile_is_one_transaction(store: SqlitePersistence) -> None:
    """A hundred commits that arrive while another one is in flight cost one transaction."""
    before = transactions(store)
    outcomes = asyncio.run(gathered(store, *(created(number) for number in range(1, 101))))
    assert outcomes == [Committed(version=1)] * 100
    assert transactions(store) == before + 2


def test_a_batch_is_bounded(store: SqlitePersistence) -> None:
    """More commits than a batch holds become as few transactions as they fit into."""
    before = transactions(store)
    asyncio.run(gathered(store, *(created(number) for number in range(1, 2 * FULL_BATCH + 2))))
    assert transactions(store) == before + 1 + 3


def test_an_idle_store_commits_at_once(store: SqlitePersistence) -> None:
    """One commit after the other are that many transactions: nobody waits for company."""
    before = transactions(store)
    stand(store, created(1), created(2), created(3))
    assert transactions(store) == before + 3


def test_different_calls_share_a_transaction(store: SqlitePersistence) -> None:
    """Commits, leases, extensions and deliveries join the same batch."""
    begin(store)
    held = take(store)
    begin(store, run=2)

    async def all_at_once() -> tuple[object, ...]:
        with busy(store) as release:
            calls = asyncio.gather(
                store.commit([created(3)]),
                store.lease(wanted()),
                store.extend([LeaseRef(key=held.key, epoch=held.epoch)], ttl=TTL),
                store.lease_streams(sink="log", limit=MANY, events=MANY, ttl=TTL),
            )
            while waiting(store) < 4:
                await asyncio.sleep(0)
            release()
            return tuple(await calls)

    before = transactions(store)
    outcomes, leases, lost, streams = asyncio.run(all_at_once())
    assert transactions(store) == before + 2
    assert outcomes == [Committed(version=1)]
    assert [lease.key for lease in leases] == [key(run=2)]  # type: ignore[attr-defined]  # each call has its own type
    assert lost == []
    assert len(streams) == 3  # type: ignore[arg-type]  # each call has its own type


def test_refused_ones_do_not_disturb_a_batch(store: SqlitePersistence) -> None:
    """In one batch each change-set has its own outcome, in whatever order they stand."""
    begin(store)
    lease = take(store)
    known = attrs.evolve(created(3), operations=(operation("k"),))
    again = attrs.evolve(created(4), operations=(operation("k"),))
    before = transactions(store)
    outcomes = asyncio.run(
        gathered(
            store, noted(1), completed(lease), noted(99), completed(lease), known, again, noted(1), ended(1), noted(1)
        )
    )
    assert transactions(store) == before + 2
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == [
        *("Committed", "Committed", "RunNotFound", "LeaseLost", "Committed", "Duplicate"),
        *("Committed", "Committed", "StaleVersion"),
    ]
    versions = [outcome.version for outcome in outcomes if isinstance(outcome, Committed)]
    assert versions == [4, 5, 1, 6, 7]
    assert [event.number for event in events_of(store)] == list(range(1, the_run(store).events + 1))


def test_a_cancelled_awaiter_disturbs_nobody(store: SqlitePersistence) -> None:
    """Who stops waiting leaves the batch as it is: what was handed in happens, and the others get their answers."""

    async def some_give_up() -> list[object]:
        with busy(store) as release:
            tasks = [asyncio.ensure_future(store.commit([created(number)])) for number in range(1, 11)]
            while waiting(store) < 10:
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.sleep(0)
            release()
            return list(await asyncio.gather(*tasks, return_exceptions=True))

    answers = asyncio.run(some_give_up())
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 5
    assert answers[1::2] == [[Committed(version=1)]] * 5
    assert [the_run(store, number).version for number in range(1, 11)] == [1] * 10


def test_a_loop_that_is_gone_disturbs_nobody(store: SqlitePersistence) -> None:
    """A loop that was closed while its commit was in flight hinders no other caller of the batch."""
    with busy(store) as release:
        loop = asyncio.new_event_loop()
        task = loop.create_task(store.commit([created(1)]))
        while waiting(store) < 1:
            loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(stand, store, created(2))
            while waiting(store) < 2:
                pass
            release()
            assert other.result() == Committed(version=1)
    assert the_run(store, 1).version == 1


def test_loops_and_threads_share_the_store(store: SqlitePersistence) -> None:
    """Tasks of two loops and plain threads use one store at once, and each gets its own answers."""
    begin(store)
    lease = take(store)
    ref = LeaseRef(key=lease.key, epoch=lease.epoch)

    async def many(first: int) -> list[object]:
        return list(await asyncio.gather(*(store.commit([created(first + number)]) for number in range(50))))

    def beat() -> list[object]:
        return [run_sync(store.extend([ref], ttl=TTL)) for _ in range(50)]

    def alone(first: int) -> list[object]:
        return [run_sync(store.commit([created(first + number)])) for number in range(20)]

    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(asyncio.run, many(first)) for first in (100, 200)]
        threads = [pool.submit(beat), pool.submit(alone, 300)]
        assert [answer.result() for answer in loops] == [[[Committed(version=1)]] * 50] * 2
        assert threads[0].result() == [[]] * 50
        assert threads[1].result() == [[Committed(version=1)]] * 20


def test_what_is_under_way_is_answered_before_the_end(store: SqlitePersistence) -> None:
    """Closing answers what was handed in before it; what comes later is refused."""

    async def close_in_flight() -> list[object]:
        with busy(store) as release:
            tasks = [asyncio.ensure_future(store.commit([created(number)])) for number in (1, 2)]
            while waiting(store) < 2:
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(store.close())
            await asyncio.sleep(0)
            with pytest.raises(StoreUnavailable):
                await store.commit([created(3)])
            release()
            await closing
            return list(await asyncio.gather(*tasks))

    assert asyncio.run(close_in_flight()) == [[Committed(version=1)]] * 2
    run_sync(store.open())
    assert [the_run(store, number).version for number in (1, 2)] == [1, 1]


def test_reads_do_not_wait_for_the_writer(store: SqlitePersistence) -> None:
    """A read is answered while a transaction is open, and does not see it."""
    stand(store, created(1))
    with busy(store):
        assert the_run(store).version == 1


def test_a_read_sees_what_was_acknowledged(store: SqlitePersistence) -> None:
    """Every acknowledged commit is seen by the read that follows it."""
    stand(store, created(1))

    async def follow() -> None:
        for version in range(2, 52):
            await store.commit([noted(require=PENDING)])
            run = await store.find_run(run_id())
            assert run is not None
            assert run.version == version

    asyncio.run(follow())


def test_duplicates_across_a_batch(store: SqlitePersistence) -> None:
    """Of many creations with one idempotency key in one batch exactly the first stands, the others get its record."""
    changes = [attrs.evolve(created(number), operations=(operation("k"),)) for number in range(1, 21)]
    outcomes = asyncio.run(gathered(store, *changes))
    assert [type(outcome) for outcome in outcomes] == [Committed] + [Duplicate] * 19


def test_events_of_one_run_in_one_batch(store: SqlitePersistence) -> None:
    """Change-sets of one run that share a batch number their events without gaps, in their order."""
    begin(store)
    told = [
        Change(
            run_id=run_id(),
            step=Step(events=(NewEvent(type=EventType.STAGE_PROGRESS, key=key(), data={"n": number}),) * 2),
        )
        for number in range(30)
    ]
    asyncio.run(gathered(store, *told))
    events = events_of(store)[3:]
    assert [event.data["n"] for event in events] == [number for number in range(30) for _ in range(2)]
