"""The Postgres store under the contract of the Persistence port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.driving import run_sync
from holdfast.ports.persistence import Persistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.persistence import PersistenceContract
from tests.postgres import fresh_store


@pytest.mark.postgres
class TestPostgresPersistence(PersistenceContract):
    """The contract, executed."""

    @pytest.fixture
    def persistence(self, clock: FakeClock) -> Iterator[Persistence]:
        """Return an opened store in an empty database."""
        store = fresh_store(clock)
        yield store
        run_sync(store.close())
