"""What every contract suite is run with."""

from __future__ import annotations

import pytest

from holdfast_testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock that the store's time is taken from."""
    return FakeClock()
