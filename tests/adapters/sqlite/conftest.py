"""A SQLite store in a file of its own, for what only SQLite can get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.driving import run_sync
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock that the store's time is taken from."""
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[SqlitePersistence]:
    """Return an opened store."""
    persistence = SqlitePersistence(path, clock=clock)
    run_sync(persistence.open())
    yield persistence
    run_sync(persistence.close())
