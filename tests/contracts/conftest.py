"""What every contract suite is run with."""

from __future__ import annotations

import pytest

# Before the suites are imported, so that their asserts tell what they compared.
pytest.register_assert_rewrite("holdfast_testing.contracts")

from holdfast_testing.clock import FakeClock  # noqa: E402 - see above


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock that the store's time is taken from."""
    return FakeClock()
