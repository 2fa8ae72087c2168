"""The job transport contract on every adapter, over the store in memory, and over Postgres where that matters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.driving import run_sync
from holdfast.ports.job_transport import JobTransport
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.transports import DatabaseTransport, MemoryTransport, TellingTransport
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.job_transport import JobTransportContract
from tests.postgres import fresh_store, told_by


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


@pytest.mark.postgres
class TestTellingTransport(JobTransportContract):
    """Over Postgres, with real notices to nobody in particular."""

    @pytest.fixture
    def persistence(self, clock: FakeClock) -> Iterator[Persistence]:
        store = fresh_store(clock)
        yield store
        run_sync(store.close())

    @pytest.fixture
    def job_transport(self, persistence: Persistence) -> Iterator[JobTransport]:
        with told_by(persistence) as notices:
            yield TellingTransport(persistence, tell=notices.tell)
