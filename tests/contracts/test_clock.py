"""The clock contract on every adapter."""

from __future__ import annotations

import pytest

from holdfast.ports.clock import Clock
from holdfast_adapters.system import SystemClock
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.clock import ClockContract


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()


class TestFakeClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return FakeClock()
