"""The contract of the Clock port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast.ports.clock import Clock
from holdfast_testing.contracts.drives import Drive, DrivenContract

SHORT = timedelta(milliseconds=20)


class ClockContract(DrivenContract):
    """What every clock must do."""

    def test_now_is_aware_and_in_utc(self, clock: Clock) -> None:
        """The present instant has a time zone, and it is UTC."""
        assert clock.now().utcoffset() == timedelta()

    def test_now_moves_with_time(self, clock: Clock, drive: Drive) -> None:
        """The present instant is later by the time that was slept."""
        before = clock.now()
        drive(clock.sleep(SHORT))
        # The system's wall clock may be corrected meanwhile, but not by as much as that.
        assert clock.now() - before >= SHORT / 2

    def test_monotonic_never_goes_back(self, clock: Clock, drive: Drive) -> None:
        """Of the seconds that are read one after another none is below the one before."""
        read = [clock.monotonic() for _ in range(1_000)]
        drive(clock.sleep(SHORT))
        read.append(clock.monotonic())
        assert read == sorted(read)

    @pytest.mark.parametrize("delay", [timedelta(microseconds=1), timedelta(milliseconds=1), SHORT])
    def test_sleep_returns_after_the_delay(self, clock: Clock, drive: Drive, delay: timedelta) -> None:
        """Nobody is woken early, measured by the clock itself."""
        for _ in range(5):
            before = clock.monotonic()
            drive(clock.sleep(delay))
            # The difference of two floats may err by their last digit.
            assert clock.monotonic() - before >= delay.total_seconds() - 1e-9

    @pytest.mark.parametrize("delay", [timedelta(), timedelta(days=-1)])
    def test_sleep_of_no_time_returns(self, clock: Clock, drive: Drive, delay: timedelta) -> None:
        """A delay of zero or less is over at once."""
        before = clock.monotonic()
        drive(clock.sleep(delay))
        assert clock.monotonic() - before < 60
