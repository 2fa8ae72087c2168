"""The scheduler contract on every adapter."""

from __future__ import annotations

import pytest

from holdfast.ports.scheduler import Scheduler
from holdfast_adapters.schedulers import HeapScheduler
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.scheduler import SchedulerContract, SleepFor
from holdfast_testing.schedulers import FakeScheduler


class TestHeapScheduler(SchedulerContract):
    @pytest.fixture
    def scheduler(self) -> HeapScheduler:
        return HeapScheduler(FakeClock())

    @pytest.fixture
    def sleep_for(self, scheduler: HeapScheduler) -> SleepFor:
        return scheduler.next_in


class TestFakeScheduler(SchedulerContract):
    @pytest.fixture
    def scheduler(self) -> Scheduler:
        return FakeScheduler()

    @pytest.fixture
    def sleep_for(self, scheduler: FakeScheduler) -> SleepFor:
        return lambda: min(scheduler.delays, default=None)
