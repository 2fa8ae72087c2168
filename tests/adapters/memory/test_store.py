"""What is special about the memory store: its order of ids, its clock, its garbage, and opening it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast.change import Grant, Step
from holdfast.driving import run_sync
from holdfast.errors import StoreUnavailable
from holdfast.ports.queries import RunFilter
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.memory.agenda import Agenda, Stamped
from holdfast_adapters.memory.turns import Levels
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    SINK,
    TTL,
    begin,
    completed,
    created,
    deadline,
    ended,
    everything,
    job,
    key,
    run_id,
    stand,
    started,
    take,
    take_all,
)

#: Far fewer than the steps of the tests below, and more than an agenda keeps before it is swept.
FEW = 600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryPersistence:
    return MemoryPersistence(clock=clock)


def entries(store: MemoryPersistence) -> dict[str, int]:
    """Return how many entries, dead or alive, the agendas of the store hold."""
    inner = store._store
    agendas: dict[str, Agenda[Any, Any]] = {"delayed": inner.delayed, "leases": inner.leases, "timers": inner.timers}
    everything: dict[Any, Levels[Any, Any]] = {**inner.pending, **inner.jobs}
    for kind, levels in everything.items():
        agendas |= {f"{kind} {n}": one for n, one in enumerate(levels.agendas())}
    agendas |= {f"sink {name}": sink.agenda for name, sink in inner.sinks.items()}
    return {name: len(agenda._entries) for name, agenda in agendas.items()}


def test_runs_are_listed_in_order_of_id_however_they_come(store: MemoryPersistence) -> None:
    """Ids that do not ascend, as after a step of a host's clock, are listed and paged in their order all the same."""
    stand(store, *(created(number) for number in (5, 1, 9, 3, 7)))
    found = run_sync(store.list_runs(RunFilter(), limit=3, before=run_id(8)))
    assert [run.id for run in found] == [run_id(7), run_id(5), run_id(3)]


def test_it_may_be_opened_again(store: MemoryPersistence) -> None:
    """A store that was closed and opened again still holds everything."""
    begin(store)
    before = everything(store)
    run_sync(store.close())
    with pytest.raises(StoreUnavailable):
        run_sync(store.count())
    run_sync(store.open())
    assert everything(store) == before


def test_a_clock_that_is_set_back_makes_jobs_wait_again(store: MemoryPersistence, clock: FakeClock) -> None:
    """A job that was seen to be due is not granted before its instant when the clock was set back since."""
    stand(store, created(), started(jobs=[job(delay=SECOND), job(key("b"), delay=HOUR)]))
    clock.advance("1s")
    assert run_sync(store.next_due()) == timedelta()
    assert run_sync(store.lease_one(key("none"), worker="w", ttl=TTL)) is None
    take_all(store)
    clock.advance(HOUR)
    run_sync(store.next_due())
    clock.set(START + 2 * SECOND)
    assert take_all(store) == []
    assert run_sync(store.next_due()) == TTL - SECOND


def test_finished_work_leaves_no_garbage(store: MemoryPersistence) -> None:
    """Thousands of finished runs, each with jobs, leases, a deadline and events, leave only a few dead entries."""
    run_sync(store.lease_streams(sink=SINK, limit=1, events=1, ttl=TTL))
    for number in range(1, 3001):
        jobs = [job(key(run=number)), job(key("b", run=number), delay=HOUR)]
        stand(store, created(number), started(number, jobs=jobs, timers=[deadline()]))
        take(store, key(run=number))
        stand(store, ended(number))
    waiting = entries(store)
    # Nobody read the sink's streams: every run has one that waits.
    assert waiting.pop(f"sink {SINK}") == 3000
    assert max(waiting.values()) <= FEW
    assert run_sync(store.lease_streams(sink=SINK, limit=MANY, events=100 * MANY, ttl=TTL))
    assert run_sync(store.count()).undelivered == 3000


def test_a_long_run_leaves_no_garbage(store: MemoryPersistence) -> None:
    """A run of thousands of steps leaves only a few dead entries behind."""
    begin(store, "s0")
    lease = take(store, key("s0"))
    for number in range(1, 3001):
        new = job(key(f"s{number}"), grant=Grant(worker="w1", ttl=TTL))
        stand(store, completed(lease, step=Step(jobs=(new,))))
        lease = take_next(lease, number)
    assert max(entries(store).values()) <= FEW
    counts = run_sync(store.count())
    assert (counts.leased, counts.ready) == (1, 0)


def take_next(lease: Any, number: int) -> Any:
    """Return the lease that was granted with the *number*-th job."""
    return type(lease)(
        key=key(f"s{number}"),
        epoch=1,
        attempt=1,
        max_attempts=3,
        worker="w1",
        queue="default",
        status=lease.status,
        run=lease.run,
    )


class TestAgenda:
    """The heap behind everything that waits."""

    def _agenda(self) -> tuple[Agenda[int, Stamped], list[Agenda[int, Stamped]]]:
        overgrown: list[Agenda[int, Stamped]] = []
        return Agenda(overgrown), overgrown

    def test_rows_come_in_order(self) -> None:
        """Rows come in their order, and in that of their stamps among equals."""
        agenda, _ = self._agenda()
        rows = {order: Stamped(stamp) for stamp, order in enumerate((3, 1, 2), 1)}
        for order, row in rows.items():
            agenda.add(order, row)
        assert agenda.earliest(9) == [rows[1], rows[2], rows[3]]
        assert agenda.earliest(2) == [rows[1], rows[2]]
        assert agenda.earliest(9, until=2) == [rows[1], rows[2]]
        assert agenda.first() == (1, rows[1])
        assert agenda.waiting() == 3

    def test_rows_that_moved_on_are_passed_over(self) -> None:
        """A row with another stamp than its entry is not there any more."""
        agenda, _ = self._agenda()
        gone, there = Stamped(1), Stamped(2)
        agenda.add(1, gone)
        agenda.add(2, there)
        gone.stamp = 0
        assert agenda.waiting() == 1
        assert agenda.first() == (2, there)
        assert agenda.earliest(9) == [there]

    def test_looking_drops_what_has_moved_on(self) -> None:
        """Whoever looks at the first rows does not walk through those that have left before them, look after look."""
        agenda, _ = self._agenda()
        rows = [Stamped(number) for number in range(1, 101)]
        for order, row in enumerate(rows):
            agenda.add(order, row)
        for row in rows[:90]:
            row.stamp = 0
        assert agenda.earliest(3) == rows[90:93]
        assert len(agenda._entries) == 10

    def test_an_entry_that_is_there_twice_is_harmless(self) -> None:
        """Two entries of one row are of the same rank; both die with the row's stamp."""
        agenda, _ = self._agenda()
        row = Stamped(1)
        agenda.add(1, row)
        agenda.add(1, row)
        assert agenda.first() == (1, row)
        row.stamp = 0
        assert agenda.first() is None

    def test_it_asks_once_to_be_swept(self) -> None:
        """An agenda that has grown asks once to be swept, and then not before it has doubled."""
        agenda, overgrown = self._agenda()
        rows = [Stamped(stamp) for stamp in range(1, 1001)]
        for row in rows:
            agenda.add(row.stamp, row)
        assert overgrown == [agenda]
        for row in rows[::2]:
            row.stamp = 0
        overgrown.pop().sweep()
        assert agenda.waiting() == 500
        assert [row.stamp for row in agenda.earliest(3)] == [2, 4, 6]
        for stamp in range(2000, 2500):
            agenda.add(stamp, Stamped(stamp))
        assert overgrown == []
        agenda.add(3000, Stamped(3000))
        assert overgrown == [agenda]
