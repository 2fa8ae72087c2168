"""The fake clock, beyond what every clock must do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from holdfast.driving import run_sync
from holdfast_testing.clock import START, FakeClock


def test_it_starts_where_told_and_stands_still() -> None:
    """The clock starts at the same instant in every test, or at a given one in UTC, and does not move by itself."""
    assert FakeClock().now() == FakeClock().now() == START == datetime(2025, 1, 1, tzinfo=UTC)
    east = timezone(timedelta(hours=5))
    clock = FakeClock(datetime(2030, 6, 1, 5, tzinfo=east))
    assert clock.now() == datetime(2030, 6, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() == 0


def test_advance_takes_durations_and_texts() -> None:
    """The clock is moved on by a timedelta or by text, and tells where it is then."""
    clock = FakeClock()
    assert clock.advance(timedelta(seconds=90)) == START + timedelta(seconds=90)
    assert clock.advance("1h30m") == START + timedelta(minutes=91, seconds=30)
    assert clock.now() == START + timedelta(minutes=91, seconds=30)
    assert clock.monotonic() == 91 * 60 + 30


def test_advance_does_not_go_back() -> None:
    """A negative duration is refused and moves nothing."""
    clock = FakeClock()
    with pytest.raises(ValueError, match="negative"):
        clock.advance(timedelta(seconds=-1))
    assert clock.now() == START


def test_sleep_advances() -> None:
    """Whoever sleeps moves the clock on by the delay and returns at once; a negative delay moves nothing."""
    clock = FakeClock()
    run_sync(clock.sleep(timedelta(days=3)))
    run_sync(clock.sleep(timedelta(days=-1)))
    assert clock.now() == START + timedelta(days=3)


def test_set_moves_either_way() -> None:
    """The clock may be set forward and back; its monotonic seconds follow forward only."""
    clock = FakeClock()
    clock.set(START + timedelta(seconds=10))
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=10), 10)
    clock.set(START - timedelta(days=1))
    assert (clock.now(), clock.monotonic()) == (START - timedelta(days=1), 10)
    clock.advance("5s")
    assert clock.monotonic() == 15


def test_an_instant_needs_a_time_zone() -> None:
    """An instant without a time zone is refused, since nobody can tell when it is."""
    naive = datetime(2025, 1, 1)  # noqa: DTZ001 - that it is naive is what is tested
    with pytest.raises(ValueError, match="no time zone"):
        FakeClock(naive)
    with pytest.raises(ValueError, match="no time zone"):
        FakeClock().set(naive)
