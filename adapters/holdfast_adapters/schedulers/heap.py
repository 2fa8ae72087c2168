"""Wake-ups in a heap in this process.

Instants are rounded up to ticks of a millisecond, so that thousands of things due at nearly the same time are one
wake-up, nobody is woken early, and nobody more than a tick late. What is due now is a flag and needs no tick.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from holdfast.ports.clock import Clock

_log = logging.getLogger(__name__)

#: How much later than asked a wake-up may come, so that one suffices for many.
TOLERANCE: Final = timedelta(milliseconds=1)
#: More wake-ups than this are not kept. The latest are given up first: the store still knows when they are due, and a
#: host asks it whenever it has woken up.
MAX_WAKE_UPS: Final = 4_096
#: A host that slept for longer than this is as good as never woken, and the numbers stay small.
_FARTHEST: Final = timedelta(days=3650)
_MICROSECOND: Final = timedelta(microseconds=1)


class HeapScheduler:
    """Remembers when something is due and tells it to the hosts of this process; safe in threads."""

    def __init__(self, clock: Clock, *, tolerance: timedelta = TOLERANCE) -> None:
        self._clock = clock
        self._tick = max(1, tolerance // _MICROSECOND)
        self._is_due = False
        #: Multiples of the tick, in microseconds of the clock's monotonic time, each once.
        self._heap: list[int] = []
        self._ticks: set[int] = set()
        self._callbacks: dict[object, Callable[[timedelta], None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._heap)

    def __bool__(self) -> bool:
        # A scheduler without wake-ups is still one.
        return True

    def subscribe(self, callback: Callable[[timedelta], None]) -> Callable[[], None]:
        """Call *callback* with the time to sleep whenever that gets shorter; return the function that ends the calls.

        It is called from the thread that notes the wake-up, and must not block.
        """
        token = object()
        self._callbacks[token] = callback

        def unsubscribe() -> None:
            self._callbacks.pop(token, None)

        return unsubscribe

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Note that something is due in *delay*; zero or less means now. Never blocks and never raises."""
        if self._note(delay):
            sleep = max(delay, timedelta())
            for callback in tuple(self._callbacks.values()):
                try:
                    callback(sleep)
                except Exception:  # noqa: BLE001 - a host that has stopped must not fail the decision that wakes it
                    _log.exception("a host could not be woken")

    def next_in(self) -> timedelta | None:
        """Return how long to sleep, zero if something is due already, or None if nothing will be."""
        with self._lock:
            if self._is_due:
                return timedelta()
            if not self._heap:
                return None
            return timedelta(microseconds=max(0, self._heap[0] - self._now()))

    def pop_due(self) -> bool:
        """Forget what is due by now and return whether anything was."""
        with self._lock:
            was_due, self._is_due = self._is_due, False
            now = self._now()
            while self._heap and self._heap[0] <= now:
                self._ticks.remove(heapq.heappop(self._heap))
                was_due = True
            return was_due

    def _note(self, delay: timedelta) -> bool:
        """Take the wake-up in and return whether it comes before all others."""
        with self._lock:
            if delay <= timedelta():
                was_due, self._is_due = self._is_due, True
                return not was_due
            # Rounded up: the negative quotient is rounded down.
            tick = -(-(self._now() + min(delay, _FARTHEST) // _MICROSECOND) // self._tick) * self._tick
            if tick in self._ticks:
                return False
            is_first = not self._is_due and (not self._heap or tick < self._heap[0])
            self._ticks.add(tick)
            heapq.heappush(self._heap, tick)
            if len(self._heap) > MAX_WAKE_UPS:
                self._give_up_latest_half()
            return is_first

    def _now(self) -> int:
        return round(self._clock.monotonic() * 1_000_000)

    def _give_up_latest_half(self) -> None:
        # A sorted list is a heap; halving makes this a constant cost per wake-up, however many there are.
        self._heap = sorted(self._heap)[: MAX_WAKE_UPS // 2]
        self._ticks = set(self._heap)
