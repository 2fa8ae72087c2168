"""UUIDv7 ids that rise strictly within a process, and random numbers from the operating system.

The layout is that of RFC 9562: 48 bits of milliseconds since 1970, 12 bits for the part of the millisecond (method 3 of
section 6.2), and 62 random bits. The first two are kept as one number, a tick of 1/4096 ms. An id that would not have a
higher tick than the last one, because two fall into one tick or the clock went back, takes the next tick instead. Every
id draws fresh random bits, so a forked child, which inherits the tick, still makes ids of its own.
"""

from __future__ import annotations

import os
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from holdfast.ports.clock import Clock
from holdfast_adapters.system.clock import SystemClock

_TICKS_PER_SECOND: Final = 4096 * 1000
#: The first digit behind the version for each random digit: binary 10 and the digit's low bits.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 0b11] for digit in "0123456789abcdef"}


class SystemIds:
    """Makes UUIDv7 ids that sort by the instant they were made, strictly within one process; safe in threads."""

    def __init__(self, *, clock: Clock | None = None, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock or SystemClock()
        self._entropy = entropy
        self._tick = 0
        self._lock = threading.Lock()

    def new_id(self) -> str:
        """Return a new UUIDv7 as lower-case hyphenated text."""
        tick = int(self._clock.now().timestamp() * _TICKS_PER_SECOND)
        chance = self._entropy(8).hex()
        with self._lock:
            if tick <= self._tick:
                tick = self._tick + 1
            self._tick = tick
        time = f"{tick:015x}"
        # The variant takes two bits of the first random digit; the version is a digit of its own.
        return f"{time[:8]}-{time[8:12]}-7{time[12:]}-{_VARIANT[chance[0]]}{chance[1:4]}-{chance[4:]}"

    def token(self) -> str:
        """Return 256 bits from the operating system as 43 characters that need no quoting in an address."""
        return urlsafe_b64encode(self._entropy(32)).decode("ascii").rstrip("=")

    def fraction(self) -> float:
        """Return a random number that is at least 0 and below 1."""
        return (int.from_bytes(self._entropy(7), "big") >> 3) * 2.0**-53
