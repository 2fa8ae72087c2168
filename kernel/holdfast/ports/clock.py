"""The port that tells the host's time; due instants and lease ends never come from it but from the store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The host's clock."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        ...

    async def sleep(self, delay: timedelta) -> None:
        """Return after *delay*."""
        ...
