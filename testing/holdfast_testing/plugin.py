"""The pytest plugin: fixtures for testing workflows, there as soon as Holdfast is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from holdfast_testing.clock import FakeClock
    from holdfast_testing.harness import Harness
    from holdfast_testing.sinks import CollectingSink

# Everything is imported where it is used: pytest loads this module in every session, also those that never ask.


@pytest.fixture
def fake_clock() -> FakeClock:
    """Give a clock that stands still until the test moves it."""
    from holdfast_testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def collecting_sink() -> CollectingSink:
    """Give an event sink that keeps what it is told."""
    from holdfast_testing.sinks import CollectingSink

    return CollectingSink()


@pytest.fixture
def harness(fake_clock: FakeClock, collecting_sink: CollectingSink) -> Harness:
    """Give a harness on `fake_clock` and `collecting_sink`; a workflow is known to it as soon as it is run."""
    from holdfast_testing.harness import Harness

    return Harness(clock=fake_clock, event_sink=collecting_sink)
