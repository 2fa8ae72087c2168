"""Driving a coroutine without an event loop, for hosts, tests and scripts whose ports never really wait."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of *coroutine*, which must not suspend: no event loop is there to wake it.

    Raises:
        RuntimeError: If the coroutine suspends; it is closed and nothing after its first suspension has happened.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration does not say what it carries
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    coroutine.close()
    raise RuntimeError(
        f"{name} waits for an event loop and none is running it. Await it inside a loop, "
        "or use ports that answer at once, such as the memory and SQLite stores."
    )
