"""The memory store under the contract of the Persistence port."""

from __future__ import annotations

import pytest

from holdfast.driving import run_sync
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.persistence import PersistenceContract


class TestMemoryPersistence(PersistenceContract):
    """The contract, executed."""

    @pytest.fixture
    def persistence(self, clock: FakeClock) -> Persistence:
        """Return a fresh, opened store."""
        store = MemoryPersistence(clock=clock)
        run_sync(store.open())
        return store
