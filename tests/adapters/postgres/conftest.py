"""What the tests of the Postgres store share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_testing.clock import FakeClock
from tests.postgres import create_database, drop_database, empty_url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder as what needs a server."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock of stores that are to have one."""
    return FakeClock()


@pytest.fixture
def url() -> str:
    """Give the address of an empty database."""
    return empty_url()


@pytest.fixture
def own() -> Iterator[str]:
    """Give the address of a database without our tables, whose settings may be changed; it goes with the test."""
    name = f"holdfast_own_{os.getpid()}"
    drop_database(name)
    yield create_database(name)
    drop_database(name)
