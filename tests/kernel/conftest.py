"""What the kernel's behaviour is tested with: harnesses on every store that runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast import Flow, run_sync
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.ids import SequentialIds
from holdfast_testing.invariants import Ledger
from tests.kernel.watching import MakeHarness, WatchedHarness
from tests.postgres import fresh_store

#: How each store is made, given a folder of its own and its clock.
STORES: Final[Mapping[str, Callable[[Path, FakeClock], Persistence]]] = {
    "memory": lambda _, clock: MemoryPersistence(clock=clock),
    "sqlite": lambda folder, clock: SqlitePersistence(folder / "holdfast.db", clock=clock),
    "postgres": lambda _, clock: fresh_store(clock),
}


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock of the hosts and of the store."""
    return FakeClock()


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.postgres) if kind == "postgres" else kind for kind in STORES]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Persistence]:
    """Give a fresh, opened store of each kind in turn."""
    persistence = STORES[request.param](tmp_path, clock)
    run_sync(persistence.open())
    yield persistence
    run_sync(persistence.close())


@pytest.fixture
def make_harness(store: Persistence, clock: FakeClock) -> MakeHarness:
    """Return what makes harnesses on that store; each of them is a host of its own."""
    # What one of them makes must not have the id of what another one made.
    ledger, ids = Ledger(), SequentialIds(clock)

    def make(*flows: Flow[Any, Any], **options: Any) -> WatchedHarness:
        options.setdefault("ledger", ledger)
        return WatchedHarness(*flows, persistence=store, clock=clock, ids=ids, **options)

    return make
