"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from holdfast.entities.retry import Span, span

#: Where every fake clock starts, so that instants in tests can be foreseen.
START: Final = datetime(2025, 1, 1, tzinfo=UTC)


class FakeClock:
    """The Clock port under a test's control; also the store's own clock in stores that run in this process."""

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = _aware(start)
        self._elapsed = timedelta()

    def now(self) -> datetime:
        """Return the present fake instant."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have passed; setting the clock back does not make it go back."""
        return self._elapsed.total_seconds()

    async def sleep(self, delay: timedelta) -> None:
        """Advance the clock by *delay* and return at once: whoever sleeps is the only one there is to wait for."""
        self.advance(max(delay, timedelta()))

    def advance(self, by: Span) -> datetime:
        """Move the clock on by a timedelta, or text such as ``90s``, and return the new instant.

        Raises:
            ValueError: If the duration is negative; `set` moves the clock back.
        """
        delta = span(by)
        with self._lock:
            self._now += delta
            self._elapsed += delta
            return self._now

    def set(self, instant: datetime) -> None:
        """Move the clock to *instant*, forward or, as a corrected system clock does, back."""
        with self._lock:
            self._elapsed += max(_aware(instant) - self._now, timedelta())
            self._now = _aware(instant)


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    return instant.astimezone(UTC)
