"""The memory store undoes a prune that breaks off at any of its lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

import attrs
import pytest

from holdfast.driving import run_sync
from holdfast.ports.outbox import Delivery
from holdfast.ports.retention import Terms
from holdfast.traces import NewToken
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    MANY,
    SINK,
    TTL,
    begin,
    created,
    ended,
    everything,
    key,
    noted,
    operation,
    reserved,
    run_id,
    stand,
    started,
    take,
)
from tests.adapters.memory.test_rollback import broken_off

DAY: Final = timedelta(days=1)
AT_ONCE: Final = Terms(runs=timedelta(), results=timedelta(), operations=DAY)
OPERATIONS: Final[dict[str, Callable[[MemoryPersistence], Coroutine[Any, Any, object]]]] = {
    "prune": lambda store: store.prune(AT_ONCE, limit=2),
    "forget_operations": lambda store: store.forget_operations(limit=MANY),
}


def prepared() -> MemoryPersistence:
    """Return a store in which runs may go that have something of everything, and in which records are due."""
    clock = FakeClock()
    store = MemoryPersistence(clock=clock)
    for number in (1, 2, 3):
        record = attrs.evolve(operation(f"op-{number}"), run_id=run_id(number))
        stand(store, attrs.evolve(created(number), operations=(record,)), started(number))
    stand(store, attrs.evolve(noted(2), tokens=(NewToken(hash="0" * 64, name="w", lifetime=DAY),)))
    stand(store, reserved(take(store, key(run=2)), output="1"), ended(1), ended(2), ended(3))
    begin(store, run=4)
    for stream in run_sync(store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL)):
        at = stream.events[-1].number
        run_sync(store.settle_streams([Delivery(run_id=stream.run_id, sink=SINK, epoch=stream.epoch, position=at)]))
    run_sync(store.prune(AT_ONCE, limit=1))
    clock.advance(DAY)
    return store


def seen(store: MemoryPersistence) -> object:
    """Return what the port tells."""
    records = [
        run_sync(store.find_operation(tenant="acme", scope="operation", key=f"op-{number}")) for number in (1, 2, 3)
    ]
    return everything(store, 1, 2, 3, 4), records, run_sync(store.find_token("0" * 64))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_broken_prune_leaves_nothing_behind(name: str) -> None:
    """Whatever line it breaks off at, the store tells what it told before, and it can be repeated."""
    operate = OPERATIONS[name]
    untouched, whole = seen(prepared()), prepared()
    outcome = run_sync(operate(whole))
    done = seen(whole)
    assert done != untouched
    line = 1
    while broken_off(operate(store := prepared()), at=line):
        assert seen(store) == untouched, f"broken off at line event {line}"
        assert run_sync(operate(store)) == outcome, f"broken off at line event {line}"
        assert seen(store) == done, f"broken off at line event {line}"
        line += 1
    assert line > 5
