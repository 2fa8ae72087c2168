"""Wake-ups of this process, and hints to others of what is due for them too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from holdfast.ports.clock import Clock
from holdfast_adapters.schedulers.heap import HeapScheduler


class TellingScheduler(HeapScheduler):
    """Remembers when something is due here, and tells the hosts of other processes by way of *tell*.

    Args:
        clock: What time is taken from.
        tell: Takes how long it is until something is due. It must neither block nor raise.
    """

    def __init__(self, clock: Clock, *, tell: Callable[[timedelta], None]) -> None:
        super().__init__(clock)
        self._tell = tell

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Note that something is due in *delay*, and tell others unless it is *local*."""
        super().wake_in(delay)
        if not local:
            self._tell(delay)
