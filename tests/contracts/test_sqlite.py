"""The SQLite store under the contract of the Persistence port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.driving import run_sync
from holdfast.ports.persistence import Persistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.persistence import PersistenceContract


class TestSqlitePersistence(PersistenceContract):
    """The contract, executed."""

    @pytest.fixture
    def persistence(self, tmp_path: Path, clock: FakeClock) -> Iterator[Persistence]:
        """Return an opened store in a fresh file."""
        store = SqlitePersistence(tmp_path / "store.db", clock=clock)
        run_sync(store.open())
        yield store
        run_sync(store.close())
