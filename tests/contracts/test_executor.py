"""The executor contract on every adapter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from holdfast.executing import InlineExecutor
from holdfast.ports.executor import Executor
from holdfast_hosts.executors import HostExecutor
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.drives import Drive
from holdfast_testing.contracts.executor import LIMIT, ExecutorContract, SlowAsync, SlowSync


class TestInlineExecutor(ExecutorContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def executor(self, clock: FakeClock) -> Executor:
        return InlineExecutor(clock)

    @pytest.fixture
    def slow_sync(self, clock: FakeClock) -> SlowSync:
        def work() -> None:
            clock.advance(2 * LIMIT)

        return work

    @pytest.fixture
    def slow_async(self, clock: FakeClock) -> SlowAsync:
        async def work() -> None:
            await clock.sleep(2 * LIMIT)

        return work


class TestHostExecutor(ExecutorContract):
    @pytest.fixture
    def drive(self) -> Drive:
        return asyncio.run

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        executor = HostExecutor(threads=2)
        yield executor
        executor.close()

    @pytest.fixture
    def slow_sync(self) -> SlowSync:
        def work() -> None:
            threading.Event().wait(2 * LIMIT.total_seconds())

        return work

    @pytest.fixture
    def slow_async(self) -> SlowAsync:
        async def work() -> None:
            await asyncio.sleep(2 * LIMIT.total_seconds())

        return work
