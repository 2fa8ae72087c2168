"""How a sync stage in a thread waits for something that only the event loop can do."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable
from typing import Any


class LoopBridge:
    """Carries awaitables from the threads of sync stages to the event loop and their results back."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._closed = False

    def block_on(self, awaitable: Awaitable[Any]) -> Any:
        """Wait in this thread for *awaitable*, which is awaited on the loop.

        Raises:
            RuntimeError: If this thread is the loop's own, or the host has stopped.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            _discard(awaitable)
            raise RuntimeError("ctx.block_on would block the event loop; use await in an async stage.")
        if self._closed:
            _discard(awaitable)
            raise RuntimeError("the host has stopped; nothing that this stage does will count")
        future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)
        self._waiting.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the host has stopped; nothing that this stage does will count") from None
        finally:
            self._waiting.discard(future)

    def close(self) -> None:
        """Let go those who still wait: when the loop ends, nobody would ever answer them."""
        self._closed = True
        for future in tuple(self._waiting):
            future.cancel()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _discard(awaitable: Awaitable[Any]) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
