"""Ids and randomness that a test can foresee."""

from __future__ import annotations

import random

from holdfast.ports.clock import Clock

_VERSION_7 = 0x7 << 12
_VARIANT = 0b10 << 62


class SequentialIds:
    """UUIDv7 ids made of the clock's time and a counter, and random numbers from a seed."""

    def __init__(self, clock: Clock, *, seed: int = 0) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._made = 0

    def new_id(self) -> str:
        """Return an id that sorts after all earlier ones."""
        self._made += 1
        milliseconds = int(self._clock.now().timestamp() * 1000)
        number = (milliseconds << 80) | (_VERSION_7 << 64) | _VARIANT | self._made
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def token(self) -> str:
        """Return the next token of the seeded sequence."""
        return f"{self._random.getrandbits(256):064x}"

    def fraction(self) -> float:
        """Return the next number of the seeded sequence."""
        return self._random.random()
