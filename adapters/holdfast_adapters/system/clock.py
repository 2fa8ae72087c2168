"""The machine's clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

#: An event loop may wake a timer early by as much as its clock can tell.
_RESOLUTION: Final = time.get_clock_info("monotonic").resolution


class SystemClock:
    """Tells the time of this machine."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        return time.monotonic()

    async def sleep(self, delay: timedelta) -> None:
        """Return after *delay*; other tasks run meanwhile if there is an event loop, else the thread sleeps."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            time.sleep(max(0.0, delay.total_seconds()))  # noqa: ASYNC251 - nobody else runs on a thread without a loop
            return
        await asyncio.sleep(delay.total_seconds() + _RESOLUTION)
