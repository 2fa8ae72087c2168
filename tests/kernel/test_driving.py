"""Driving a coroutine without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from holdfast.driving import run_sync


class Something:
    """What only an event loop could bring."""

    def __await__(self) -> Generator[object, None, None]:
        yield self


async def _answer(value: int) -> int:
    return value


def test_the_result_is_returned() -> None:
    """A coroutine that never suspends is driven to its result, through whatever it awaits."""

    async def outer() -> int:
        return await _answer(20) + await _answer(-3)

    assert run_sync(outer()) == 17


def test_no_result_is_none() -> None:
    """A coroutine that returns nothing gives None."""

    async def nothing() -> None:
        await _answer(1)

    assert run_sync(nothing()) is None


def test_errors_come_through() -> None:
    """What the coroutine raises is raised, as it is."""

    async def fail() -> None:
        raise KeyError("which")

    with pytest.raises(KeyError, match="which"):
        run_sync(fail())


def test_a_coroutine_that_suspends_is_closed() -> None:
    """A coroutine that waits for an event loop is closed where it waits, and the error names it."""
    seen: list[str] = []

    async def sleeper() -> None:
        seen.append("before")
        try:
            await Something()
        finally:
            seen.append("closed")
        seen.append("after")

    with pytest.raises(RuntimeError, match=r"sleeper waits for an event loop and none is running it"):
        run_sync(sleeper())
    assert seen == ["before", "closed"]


def test_it_works_inside_a_loop() -> None:
    """Inside a running loop a coroutine that does not suspend is driven all the same."""

    async def inside() -> int:
        return run_sync(_answer(17))

    assert asyncio.run(inside()) == 17


def test_a_coroutine_that_lets_others_run_goes_on() -> None:
    """A bare turn is for others to run; there are none, so the coroutine goes on, but not for ever."""

    async def polite(turns: int) -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        return "done"

    assert run_sync(polite(3)) == "done"
    with pytest.raises(RuntimeError, match="polite waits"):
        run_sync(polite(100_000))
