"""What a host relies on in the scheduler that is a heap in its process."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final

import pytest

from holdfast_adapters.schedulers import HeapScheduler, TellingScheduler
from holdfast_adapters.schedulers.heap import MAX_WAKE_UPS, TOLERANCE
from holdfast_testing.clock import FakeClock

SECOND: Final = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def scheduler(clock: FakeClock) -> HeapScheduler:
    return HeapScheduler(clock)


def test_wake_up_is_popped_when_it_is_due(scheduler: HeapScheduler, clock: FakeClock) -> None:
    """A host that wakes up finds what is due, once, and what is not due stays."""
    scheduler.wake_in(SECOND)
    scheduler.wake_in(3 * SECOND)
    assert not scheduler.pop_due()
    clock.advance(SECOND)
    assert scheduler.next_in() == timedelta()
    assert scheduler.pop_due()
    assert not scheduler.pop_due()
    assert scheduler.next_in() == 2 * SECOND


def test_what_is_due_now_is_popped_at_once(scheduler: HeapScheduler) -> None:
    """Something that is due already needs no time to pass."""
    scheduler.wake_in(timedelta())
    assert scheduler.next_in() == timedelta()
    assert scheduler.pop_due()
    assert scheduler.next_in() is None


def test_missed_wake_ups_are_one(scheduler: HeapScheduler, clock: FakeClock) -> None:
    """A host that overslept many wake-ups is told once."""
    for seconds in range(1, 50):
        scheduler.wake_in(seconds * SECOND)
    clock.advance(49 * SECOND)
    assert scheduler.pop_due()
    assert scheduler.next_in() is None


def test_host_that_sleeps_as_told_is_never_early_and_hardly_late(scheduler: HeapScheduler, clock: FakeClock) -> None:
    """Every instant that was noted is reached by a wake-up within the tolerance after it, and none before it."""
    rng = random.Random(17)
    due = sorted(clock.monotonic() + rng.random() * 3 for _ in range(2_000))
    for instant in due:
        scheduler.wake_in(timedelta(seconds=instant))
    woken: list[float] = []
    while (delay := scheduler.next_in()) is not None:
        clock.advance(delay)
        assert scheduler.pop_due()
        woken.append(clock.monotonic())
    microsecond = 1e-6
    for instant in due:
        first = next(at for at in woken if at >= instant - microsecond)
        assert first - instant <= TOLERANCE.total_seconds() + microsecond
    assert scheduler.next_in() is None


def test_near_instants_are_one_wake_up(scheduler: HeapScheduler, clock: FakeClock) -> None:
    """Thousands of things due within the tolerance cost one entry."""
    for microseconds in range(1, 1_000):
        scheduler.wake_in(SECOND + timedelta(microseconds=microseconds))
    assert len(scheduler) == 1


def test_memory_is_bounded_and_the_first_are_kept(scheduler: HeapScheduler) -> None:
    """However much is noted, only so many wake-ups are kept, and those are the earliest."""
    delays = list(range(1, 3 * MAX_WAKE_UPS))
    random.Random(17).shuffle(delays)
    for seconds in delays:
        scheduler.wake_in(seconds * SECOND)
        assert len(scheduler) <= MAX_WAKE_UPS
    assert scheduler.next_in() == SECOND


def test_subscriber_is_woken_when_its_sleep_gets_shorter(scheduler: HeapScheduler, clock: FakeClock) -> None:
    """A host that sleeps is told of what comes before its next wake-up, and of nothing else."""
    woken: list[timedelta] = []
    scheduler.subscribe(woken.append)
    for seconds in (5, 9, 5, 2, 3, 0, -1, 1):
        scheduler.wake_in(seconds * SECOND)
    assert woken == [5 * SECOND, 2 * SECOND, timedelta()]
    scheduler.pop_due()
    scheduler.wake_in(timedelta())
    assert woken[3:] == [timedelta()]


def test_subscription_ends(scheduler: HeapScheduler) -> None:
    """The returned function ends the calls, and may be called again."""
    woken: list[timedelta] = []
    unsubscribe = scheduler.subscribe(woken.append)
    unsubscribe()
    unsubscribe()
    scheduler.wake_in(SECOND)
    assert woken == []


def test_error_of_a_subscriber_disturbs_nobody(scheduler: HeapScheduler, caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber that raises is logged; the wake-up is noted and the others are woken."""
    woken: list[timedelta] = []

    def stopped(delay: timedelta) -> None:
        raise RuntimeError("Event loop is closed")

    scheduler.subscribe(stopped)
    scheduler.subscribe(woken.append)
    scheduler.wake_in(SECOND)
    assert woken == [SECOND]
    assert scheduler.next_in() == SECOND
    assert "Event loop is closed" in caplog.text


def test_subscriber_may_use_the_scheduler(scheduler: HeapScheduler) -> None:
    """A subscriber that asks and notes while it is called does not block."""
    seen: list[timedelta | None] = []

    def look(delay: timedelta) -> None:
        seen.append(scheduler.next_in())
        scheduler.wake_in(3 * SECOND)

    scheduler.subscribe(look)
    scheduler.wake_in(2 * SECOND)
    assert seen == [2 * SECOND]
    assert len(scheduler) == 2


def test_others_are_told_of_what_is_not_local(clock: FakeClock) -> None:
    """A scheduler that can tell hosts of other processes tells them too, unless only this process is concerned."""
    told: list[timedelta] = []
    scheduler = TellingScheduler(clock, tell=told.append)
    scheduler.wake_in(3 * SECOND)
    scheduler.wake_in(SECOND, local=True)
    assert told == [3 * SECOND]
    assert scheduler.next_in() == SECOND
