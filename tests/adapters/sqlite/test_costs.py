"""What the plans are for: the work of a call on SQLite does not grow with what surrounds it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from holdfast.change import Change, Fence, Finish, Grant, NewRun
from holdfast.driving import run_sync
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.ports.outbox import Delivery
from holdfast.ports.queries import RunFilter
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    KNOWN,
    SINK,
    TTL,
    created,
    deadline,
    ended,
    header,
    job,
    key,
    moved,
    new_wait,
    payload,
    run_id,
    stand,
    started,
    take_all,
    wanted,
)
from holdfast_testing.contracts.singletons import cancelled, let_go, single
from holdfast_testing.contracts.turns import begun, owned_by
from tests.adapters.sqlite.counting import counted


def finished(number: int) -> list[Change]:
    """Return the life of a run of one stage."""
    grant = Grant(worker="w", ttl=TTL)
    last = Change(
        run_id=run_id(number),
        fence=Fence(key=key(run=number), epoch=1),
        settle=Finish(status=StageStatus.COMPLETED, output=payload("1")),
        step=ended(number, status=RunStatus.COMPLETED).step,
    )
    return [created(number), started(number, jobs=[job(key(run=number), grant=grant)]), last]


def crowd(store: SqlitePersistence, size: int) -> None:
    """Fill the store with *size* of everything that should cost others nothing."""
    strange = header(1, workflow="strange", priority=9)
    known = header(2, priority=9)
    unknown = [job(key(item=item), head=strange) for item in range(size)]
    delayed = [job(key(run=2, item=item), head=known, delay=HOUR) for item in range(size)]
    stand(store, created(head=strange), started(head=strange, jobs=unknown))
    stand(store, created(head=known), started(2, head=known, jobs=delayed))
    run_sync(store.commit([change for number in range(100, 100 + size) for change in finished(number)]))
    pending = [header(number, workflow="strange", priority=9) for number in range(5_000, 5_000 + size)]
    run_sync(store.commit([created(head=head) for head in pending]))
    idle(store, size)
    # Delivered to one sink, so that only the streams know of them.
    while streams := run_sync(store.lease_streams(sink=SINK, limit=size, events=100 * size, ttl=TTL)):
        taken = [
            Delivery(run_id=each.run_id, sink=SINK, epoch=each.epoch, position=each.events[-1].number)
            for each in streams
        ]
        run_sync(store.settle_streams(taken))


def idle(store: SqlitePersistence, size: int) -> None:
    """Fill the store with *size* jobs that wait, with their timers, of jobs of a paused run, and of runs held back."""
    waits = tuple(attrs.evolve(job(key(run=3, item=item)), waits=(new_wait(),)) for item in range(size))
    timers = [deadline(f"t{item}") for item in range(size)]
    stand(store, created(3), started(3, jobs=waits, timers=timers))
    stand(
        store,
        created(4),
        started(4, jobs=[job(key(run=4, item=item), head=header(priority=9)) for item in range(size)]),
    )
    stand(store, moved(4, status=RunStatus.PAUSED))
    held = [header(number) for number in range(20_000, 20_000 + size)]
    run_sync(store.commit([attrs.evolve(created(head=head), create=NewRun(header=head, held=True)) for head in held]))


def costs(store: SqlitePersistence) -> dict[str, int]:
    """Return the instructions that the calls a worker lives from take."""
    opened = store._access.opened
    writer, reader = opened.writer, opened._reader
    assert writer is not None
    assert reader is not None
    at = key(run=9_001)
    found = {"create": counted(writer._connection, lambda: stand(store, created(9_001)))}
    found["list_pending"] = counted(reader, lambda: run_sync(store.list_pending(limit=5, known=KNOWN)))
    found["start"] = counted(writer._connection, lambda: stand(store, started(9_001, jobs=[job(at)])))
    found["next_due"] = counted(reader, lambda: run_sync(store.next_due()))
    found["lease"] = counted(writer._connection, lambda: take_all(store, wanted(limit=5)))
    found["list_expired"] = counted(reader, lambda: run_sync(store.list_expired(limit=5)))
    found["find_snapshot"] = counted(reader, lambda: run_sync(store.find_snapshot(at.run_id)))
    found["finish"] = counted(writer._connection, lambda: stand(store, finished(9_001)[-1]))
    leased = run_sync(store.lease_streams(sink=SINK, limit=5, events=5, ttl=TTL))
    assert [stream.run_id for stream in leased] == [at.run_id]
    found["lease_streams"] = counted(
        writer._connection, lambda: run_sync(store.lease_streams(sink=SINK, limit=5, events=5, ttl=TTL))
    )
    found["list_runs"] = counted(reader, lambda: run_sync(store.list_runs(RunFilter(), limit=5)))
    return found


def test_cost_does_not_grow_with_the_store(tmp_path: Path, clock: FakeClock) -> None:
    """What a worker does costs the same among forty as among four thousand jobs and runs that are none of its own."""
    found: list[dict[str, int]] = []
    for size in (40, 4_000):
        store = SqlitePersistence(tmp_path / f"{size}.db", clock=clock)
        run_sync(store.open())
        crowd(store, size)
        found.append(costs(store))
        run_sync(store.close())
    few, many = found
    assert {name: count for name, count in many.items() if count > 1.2 * few[name] + 20} == {}, (few, many)


def in_the_way(store: SqlitePersistence, size: int) -> None:
    """Fill the store with *size* of everything that waits for its turn, for room, or for its time."""
    far, begin = 10 * HOUR, Grant(worker="w", ttl=timedelta())

    def fill(number: int, tenant: str, name: str = "", *, queue: str, **more: Any) -> None:
        head = owned_by(number, tenant, name)
        new = [attrs.evolve(job(key(run=number, item=item), head=head, queue=queue), **more) for item in range(size)]
        stand(store, created(head=head), started(number, head=head, jobs=new))

    fill(1, "a", queue="default")
    fill(2, "a", "full", queue="slow")
    fill(3, "b", queue="shut")
    fill(4, "b", queue="slow", grant=begin)
    fill(5, "b", queue="drained", weight=9)
    stand(store, *begun(owned_by(6, "a", "next"), queue="slow"), *begun(owned_by(7, "c")))
    heads = [owned_by(number, f"late {number}", f"key {number}") for number in range(1_000, 1_000 + size)]
    run_sync(store.commit([created(head=head) for head in heads]))
    later = [job(key(run=1_000 + index), head=head, delay=far) for index, head in enumerate(heads)]
    run_sync(store.commit([started(1_000 + index, jobs=[new]) for index, new in enumerate(later)]))
    pending = [owned_by(number, "a") for number in range(20_000, 20_000 + size)]
    run_sync(store.commit([created(head=head) for head in (*pending, owned_by(8, "b"))]))
    run_sync(store.commit([single(number) for number in range(40_000, 40_000 + size)]))
    rate = Rate(tokens=10, period=far)
    for each in (
        QueueLimits(name="slow", per_key=1),
        QueueLimits(name="shut", paused=True),
        QueueLimits(name="drained", rate=rate),
    ):
        run_sync(store.set_queue(each))


def shared_costs(store: SqlitePersistence) -> dict[str, int]:
    """Return the instructions that it takes to hand out what is in nobody's way, and to let a singleton follow."""
    opened = store._access.opened
    writer, reader = opened.writer, opened._reader
    assert writer is not None
    assert reader is not None
    request = wanted(limit=2, queues=frozenset({"default", "slow", "shut", "drained"}))
    got: list[Lease] = []
    found = {
        f"lease {turn}": counted(writer._connection, lambda: got.extend(take_all(store, request))) for turn in range(4)
    }
    runs = [int(lease.key.run_id[-12:]) for lease in got]
    # Tenants b and c have their turns although there is more of a than is asked for, and so has its other key.
    assert {1, 2, 5, 6, 7} <= set(runs), runs
    found["list_pending"] = counted(reader, lambda: run_sync(store.list_pending(limit=1, known=KNOWN)))
    listed: list[str] = []
    for turn in range(2):
        found[f"list_pending {turn}"] = counted(
            reader, lambda: listed.extend(run.id for run in run_sync(store.list_pending(limit=1, known=KNOWN)))
        )
    assert run_id(8) in listed
    found["next_due"] = counted(reader, lambda: run_sync(store.next_due()))
    found["list_expired"] = counted(reader, lambda: run_sync(store.list_expired(limit=3)))
    found["end"] = counted(writer._connection, lambda: stand(store, cancelled(40_000)))
    found["let go"] = counted(writer._connection, lambda: stand(store, let_go(40_001)))
    return found


def test_nobody_pays_for_what_is_not_his_turn(tmp_path: Path, clock: FakeClock) -> None:
    """A claim costs the same however many jobs of one tenant are due, have no room, or are due later."""
    found: list[dict[str, int]] = []
    for size in (30, 1_500):
        store = SqlitePersistence(tmp_path / f"{size}.db", clock=clock)
        run_sync(store.open())
        in_the_way(store, size)
        found.append(shared_costs(store))
        run_sync(store.close())
    few, many = found
    assert {name: count for name, count in many.items() if count > 1.2 * few[name] + 20} == {}, (few, many)
