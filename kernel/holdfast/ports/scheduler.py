"""The port through which the kernel tells its host when something will be due."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol


class Scheduler(Protocol):
    """Lets hosts sleep exactly as long as possible. A hint: losing it costs latency only."""

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Note that something is due in *delay*; zero or less means now. Never blocks and never raises.

        A scheduler that can tell hosts of other processes tells them too, unless it is *local*: they are told in
        another way, or it is no business of theirs.
        """
        ...
