"""A scheduler that only remembers what it was told."""

from __future__ import annotations

from datetime import timedelta


class FakeScheduler:
    """Records every wake-up that the kernel asked for, so that a test can look."""

    def __init__(self) -> None:
        #: The delays, as given, in order.
        self.delays: list[timedelta] = []
        #: Those of which hosts of other processes are to know.
        self.told: list[timedelta] = []

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Note that something is due in *delay*; zero or less means now."""
        self.delays.append(delay)
        if not local:
            self.told.append(delay)

    def clear(self) -> None:
        """Forget what was asked for so far."""
        self.delays.clear()
        self.told.clear()
