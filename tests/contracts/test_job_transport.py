"""The job transport contract on every adapter, over the store in memory."""

from __future__ import annotations

import pytest

from holdfast.driving import run_sync
from holdfast.ports.job_transport import JobTransport
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.transports import DatabaseTransport, MemoryTransport
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.job_transport import JobTransportContract


class OverMemory(JobTransportContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def persistence(self, clock: FakeClock) -> Persistence:
        store = MemoryPersistence(clock=clock)
        run_sync(store.open())
        return store


class TestDatabaseTransport(OverMemory):
    @pytest.fixture
    def job_transport(self, persistence: Persistence) -> JobTransport:
        return DatabaseTransport(persistence)


class TestMemoryTransport(OverMemory):
    @pytest.fixture
    def job_transport(self, persistence: Persistence) -> JobTransport:
        return MemoryTransport(persistence)
