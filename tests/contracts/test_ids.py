"""The ids contract on every adapter."""

from __future__ import annotations

import pytest

from holdfast.ports.ids import Ids
from holdfast_adapters.system import SystemIds
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.ids import IdsContract
from holdfast_testing.ids import SequentialIds


class TestSystemIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Ids:
        return SystemIds()


class TestSystemIdsWhileTheClockStands(IdsContract):
    @pytest.fixture
    def ids(self) -> Ids:
        return SystemIds(clock=FakeClock())


class TestSequentialIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Ids:
        return SequentialIds(FakeClock())
