"""The contract of the Scheduler port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import pytest

from holdfast.ports.scheduler import Scheduler

#: Returns how long a host would sleep now, or None if for ever.
SleepFor = Callable[[], timedelta | None]
SECOND: Final = timedelta(seconds=1)
#: How much later than asked a host may be woken.
TOLERANCE: Final = timedelta(milliseconds=50)


def about(expected: timedelta, actual: timedelta | None) -> bool:
    """Return whether *actual* is *expected* or a little later."""
    return actual is not None and expected <= actual <= expected + TOLERANCE


class SchedulerContract:
    """What every scheduler must do; `sleep_for` reads it as a host would, with a clock that stands still."""

    def test_nothing_is_due_at_first(self, sleep_for: SleepFor) -> None:
        """A host that was told nothing sleeps until somebody tells it."""
        assert sleep_for() is None

    def test_host_sleeps_for_the_delay(self, scheduler: Scheduler, sleep_for: SleepFor) -> None:
        """A host sleeps for as long as was noted, not less."""
        scheduler.wake_in(SECOND)
        assert about(SECOND, sleep_for())

    def test_host_sleeps_until_the_first_of_many(self, scheduler: Scheduler, sleep_for: SleepFor) -> None:
        """Of many things the one that is due first counts, whatever the order in which they were noted."""
        for seconds in (50, 7, 90, 3, 3, 20):
            scheduler.wake_in(seconds * SECOND)
        assert about(3 * SECOND, sleep_for())

    @pytest.mark.parametrize("delay", [timedelta(), -SECOND, timedelta.min])
    def test_zero_or_less_means_now(self, scheduler: Scheduler, sleep_for: SleepFor, delay: timedelta) -> None:
        """A host does not sleep when something is due already."""
        scheduler.wake_in(SECOND)
        scheduler.wake_in(delay)
        slept = sleep_for()
        assert slept is not None
        assert slept <= timedelta()

    def test_any_delay_is_taken(self, scheduler: Scheduler, sleep_for: SleepFor) -> None:
        """No delay is too long, and many do no harm."""
        scheduler.wake_in(timedelta.max)
        slept = sleep_for()
        assert slept is not None
        assert slept >= timedelta(days=365)
        for seconds in range(20_000, 0, -1):
            scheduler.wake_in(seconds * SECOND)
        assert about(SECOND, sleep_for())

    def test_threads_may_note_at_once(self, scheduler: Scheduler, sleep_for: SleepFor) -> None:
        """Noting from many threads neither raises nor loses the first."""
        delays = [seconds * SECOND for seconds in range(2_000, 0, -1)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(scheduler.wake_in, delays)) == [None] * len(delays)
        assert about(SECOND, sleep_for())
