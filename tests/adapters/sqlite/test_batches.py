"""What arrives while the writer is busy becomes one transaction, whoever sent it and from wherever."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import attrs
import pytest

from holdfast.change import PENDING, Change, Committed, Duplicate, Held, Step
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, StaleVersion, StoreUnavailable
from holdfast.events import EventType, NewEvent
from holdfast.ports.work import LeaseRef
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.sqlite.lanes import FULL_BATCH
from holdfast_testing.contracts.samples import (
    MANY,
    TTL,
    answered,
    begin,
    completed,
    created,
    ended,
    events_of,
    gate_rule,
    header,
    job,
    key,
    noted,
    operation,
    parked,
    payload,
    reaching,
    ready_event,
    reserved,
    run_id,
    sent,
    stand,
    started,
    take,
    take_all,
    the_run,
    the_stage,
    the_wait,
    timers_of,
    wanted,
)


def transactions(store: SqlitePersistence) -> int:
    """Return how many transactions the store has committed."""
    writer = store._access.opened.writer
    assert writer is not None
    return writer.transactions


@contextmanager
def busy(store: SqlitePersistence) -> Generator[Callable[[], None]]:
    """Keep the writer busy in a transaction of its own; yields what lets it go."""
    entered, leave = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection, __: int) -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=lambda: run_sync(store._access.write(wait)))
    thread.start()
    entered.wait()
    try:
        yield leave.set
    finally:
        leave.set()
        thread.join()


def waiting(store: SqlitePersistence) -> int:
    """Return how many requests wait for the writer."""
    return store._access.opened.writing._queue.qsize()


async def gathered(store: SqlitePersistence, *changes: Change) -> list[object]:
    """Commit each of *changes* by a task of its own while the writer is busy, and return the outcomes."""
    with busy(store) as release:
        tasks = [asyncio.ensure_future(store.commit([change])) for change in changes]
        while waiting(store) < len(changes):
            await asyncio.sleep(0)
        release()
        return [outcome for (outcome,) in await asyncio.gather(*tasks)]


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


def test_siblings_in_one_batch_open_their_gate_once(store: SqlitePersistence) -> None:
    """Fifty siblings that complete in one batch open their gate once, and what follows is in the same transaction."""
    names = [f"s{number}" for number in range(50)]
    begin(store, *names)
    leases = take_all(store)
    new = job(key("next"))
    joined = gate_rule(arity=50, opens=Step(jobs=(new,), events=(ready_event(new.key),)))
    changes = [reaching(completed(lease), joined) for lease in leases]
    before = transactions(store)
    outcomes = asyncio.run(gathered(store, *changes))
    assert transactions(store) == before + 2
    assert [outcome for outcome in outcomes if outcome.steps] == [outcomes[-1]]  # type: ignore[attr-defined]  # committed
    assert the_run(store).version == 2 + 50 + 50
    assert the_stage(store, key("next")).attempt == 0


def test_a_gate_that_ends_the_run_in_a_batch(store: SqlitePersistence) -> None:
    """What comes behind the end of a run in the same batch finds it ended."""
    begin(store, "a", "b", "c")
    leases = {lease.key.stage_id: lease for lease in take_all(store)}
    final = gate_rule(opens=ended().step)
    closing = [reaching(completed(leases[name]), final) for name in ("a", "b")]
    outcomes = asyncio.run(gathered(store, *closing, completed(leases["c"])))
    assert isinstance(outcomes[2], LeaseLost)
    assert the_stage(store, key("c")).status.value == "CANCELLED"


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


def test_two_answers_of_one_wait_in_one_batch(store: SqlitePersistence) -> None:
    """Of two answers of one wait in one batch the first stands, and its job is woken once."""
    begin(store)
    stand(store, parked(take(store)))
    first, second = asyncio.run(gathered(store, answered(text='"yes"'), answered(text='"no"')))
    assert isinstance(first, Committed)
    assert isinstance(second, StaleVersion)
    assert the_stage(store).status is StageStatus.READY
    assert the_wait(store).payload == payload('"yes"')


def test_answers_of_many_waits_in_one_batch(store: SqlitePersistence) -> None:
    """Answers of different instances share a transaction, and the run goes on with the first of them."""
    names = [f"s{number}" for number in range(20)]
    begin(store, *names)
    stand(store, *(parked(lease) for lease in take_all(store)))
    assert the_run(store).status is RunStatus.WAITING
    before = transactions(store)
    outcomes = asyncio.run(gathered(store, *(answered(at=key(name)) for name in names)))
    assert [type(outcome) for outcome in outcomes] == [Committed] * 20
    assert transactions(store) == before + 2
    assert the_run(store).status is RunStatus.RUNNING


@pytest.mark.parametrize("first", ["message", "wait"])
def test_a_message_meets_its_wait_in_one_batch(store: SqlitePersistence, first: str) -> None:
    """A message in front of the wait of its name is taken by it; one behind it is refused: the wait can be answered."""
    begin(store)
    changes = [parked(take(store)), sent()]
    outcomes = asyncio.run(gathered(store, *(reversed(changes) if first == "message" else changes)))
    assert [isinstance(outcome, Committed) for outcome in outcomes] == [True, first == "message"]
    resumed = first == "message"
    assert the_stage(store).status is (StageStatus.READY if resumed else StageStatus.WAITING)
    assert the_wait(store).status is (WaitStatus.RESOLVED if resumed else WaitStatus.OPEN)


def test_two_runs_want_one_key_in_one_batch(store: SqlitePersistence) -> None:
    """Of two runs that take one key in one batch the first gets it, and the other is told who holds it."""
    for run in (1, 2):
        begin(store, run=run)
    leases = [take(store, key(run=run)) for run in (1, 2)]
    first, second = asyncio.run(gathered(store, *(reserved(lease) for lease in leases)))
    assert isinstance(first, Committed)
    assert isinstance(second, Held)
    assert second.result.holder == key(run=1)


def test_a_key_is_free_once_its_holder_has_ended(store: SqlitePersistence) -> None:
    """Who wants a key behind the end of the run that held it gets it, in the same batch."""
    for run in (1, 2):
        begin(store, run=run)
    stand(store, reserved(take(store)))
    outcomes = asyncio.run(gathered(store, ended(1), reserved(take(store, key(run=2)))))
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed]


def test_relatives_in_one_batch(store: SqlitePersistence) -> None:
    """A child that ends in front of its parent's failure is not told of it; one that lives still is."""
    begin(store)
    for number in (2, 3):
        head = attrs.evolve(header(number), parent_id=run_id())
        stand(store, created(head=head), started(number, head=head))
    failed = ended(1, status=RunStatus.FAILED)
    outcomes = asyncio.run(gathered(store, ended(2), failed, ended(3)))
    assert [type(outcome) for outcome in outcomes] == [Committed] * 3
    assert timers_of(store) == []
    begin(store, run=4)
    for number in (5, 6):
        head = attrs.evolve(header(number), parent_id=run_id(4))
        stand(store, created(head=head), started(number, head=head))
    asyncio.run(gathered(store, ended(5), ended(4, status=RunStatus.FAILED)))
    assert timers_of(store) == [(6, "parent", TimerKind.PARENT_ENDED)]


def test_children_in_one_batch_share_a_wave(store: SqlitePersistence) -> None:
    """Children of one parent that end in one batch are all told of there."""
    begin(store)
    for number in (2, 3, 4):
        head = attrs.evolve(header(number), parent_id=run_id())
        stand(store, created(head=head), started(number, head=head))
    asyncio.run(gathered(store, *(ended(number) for number in (2, 3, 4))))
    told = [(1, f"child:{run_id(number)}", TimerKind.CHILD_ENDED) for number in (2, 3, 4)]
    assert sorted(timers_of(store), key=lambda timer: timer[1]) == told


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
