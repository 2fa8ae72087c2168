"""Driving a coroutine without an event loop, for hosts, tests and scripts whose ports never really wait."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: A coroutine that only lets others run goes on, so many times; whoever does it more often waits for something.
_MOST_TURNS: Final = 1_000


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of *coroutine*, which must not wait for anything: no event loop is there to wake it.

    Raises:
        RuntimeError: If the coroutine waits; it is closed and nothing after that has happened.
    """
    try:
        for _ in range(_MOST_TURNS):
            # None means that others may run, and there are none.
            if coroutine.send(None) is not None:
                break
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration does not say what it carries
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    coroutine.close()
    raise RuntimeError(
        f"{name} waits for an event loop and none is running it. Await it inside a loop, "
        "or use ports that answer at once, such as the memory and SQLite stores."
    )
