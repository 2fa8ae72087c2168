"""Bodies of stages that misbehave, each with the outcome that its run comes to."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from holdfast import Flow, Pending, Retry, RetryAfter, stage, workflow
from tests.hosts.scenes import ONCE

Body = Callable[..., Any]


class Unspeakable(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Deadly(Exception):
    """An error whose text ends the process."""

    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise KeyboardInterrupt


class Wrong(Exception):
    """An error whose text is no text."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  # that is the attack


class Enormous(Exception):
    """An error of 50 MB."""

    def __str__(self) -> str:
        return "x" * 50_000_000


class Misnamed(Exception):
    """An error whose class has an impossible name."""


Misnamed.__qualname__ = "x\ud800\x00" * 10_000


class Hostile:
    """An object that objects to everything."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __repr__(self) -> str:
        raise RuntimeError("repr")


class HostileDict(dict[str, int]):  # noqa: PLW1641  # dicts have no hash
    """A mapping that ends the process when it is looked at."""

    def __eq__(self, other: object) -> bool:
        raise SystemExit(3)

    def __iter__(self) -> Any:
        raise SystemExit(3)

    def items(self) -> Any:
        """Raise."""
        raise SystemExit(3)

    def keys(self) -> Any:
        """Raise."""
        raise SystemExit(3)


def task() -> asyncio.Task[Any]:
    """Return the task that the body runs in."""
    current = asyncio.current_task()
    assert current is not None
    return current


def flow(body: Body, *, retry: Retry = ONCE, timeout: str | None = None) -> Flow[int, Any]:
    """Return a workflow of one stage that is tried once."""
    made: Flow[int, Any] = workflow(body.__name__, input=int, version="1").pipe(
        stage(retry=retry, timeout=timeout)(body)
    )
    return made


def raising(make: Callable[[], BaseException], *, name: str, is_async: bool = True) -> Flow[int, Any]:
    """Return a workflow whose stage raises."""

    async def waits(number: int) -> int:
        raise make()

    def runs(number: int) -> int:
        raise make()

    body = waits if is_async else runs
    body.__name__ = name
    return flow(body)


def recurse(depth: int) -> int:
    """Never end."""
    return recurse(depth + 1)


async def endless(number: int) -> int:
    """Recurse without end."""
    return recurse(number)


def endless_thread(number: int) -> int:
    """Recurse without end in a thread."""
    return recurse(number)


def exits(number: int) -> int:
    """End the process."""
    sys.exit(3)


async def cancels_itself(number: int) -> int:
    """Cancel the task that it runs in."""
    task().cancel()
    await asyncio.sleep(1)
    return number


async def cancels_itself_by_another(number: int) -> int:
    """Have its task cancelled by a task of its own."""
    own = task()

    async def cancel() -> None:
        own.cancel()

    helper = asyncio.create_task(cancel())
    await asyncio.sleep(1)
    await helper
    return number


async def cancels_itself_and_falls(number: int) -> int:
    """Cancel its task and raise before that arrives."""
    task().cancel()
    raise ValueError("fell")


async def chained(number: int) -> int:
    """Raise an error with a chain of 5,000 causes."""
    error: Exception = ValueError("first")
    for depth in range(5_000):
        later = ValueError(depth)
        later.__cause__ = error
        error = later
    raise error


async def grouped(number: int) -> int:
    """Raise 2,000 groups in one another."""
    error: list[Exception] = [ValueError("first")]
    for _ in range(2_000):
        error = [ExceptionGroup("group", error)]
    raise error[0]


async def nests_loops(number: int) -> int:
    """Start a loop where one runs."""

    async def inner() -> int:
        return number

    waiting = inner()
    try:
        return asyncio.run(waiting)
    finally:
        waiting.close()


async def deep(number: int) -> Any:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


async def coroutine(number: int) -> Any:
    """Return what should have been awaited."""

    async def inner() -> int:
        return number

    waiting: Coroutine[Any, Any, int] = inner()
    waiting.close()
    return waiting


async def hostile(number: int) -> Any:
    """Return an object that objects to everything."""
    return Hostile()


async def hostile_number(number: int) -> int:
    """Return one in place of a number."""
    return Hostile()  # type: ignore[return-value]  # that is the attack


async def hostile_mapping(number: int) -> dict[str, int]:
    """Return a mapping that ends the process."""
    return HostileDict(a=1)


async def pends(number: int) -> Any:
    """Pretend to be a batch."""
    return Pending()


async def blocks(number: int) -> int:
    """Block the loop for longer than its timeout."""
    time.sleep(0.15)  # that is the attack
    return number


async def swallows(number: int) -> int:
    """Ignore its interruption and return late."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(30)
    return number


def overstays(number: int) -> int:
    """Return from a thread after its timeout."""
    time.sleep(0.2)
    return number


async def asks_for_ages(number: int) -> int:
    """Ask for another attempt after the end of time."""
    raise RetryAfter(timedelta.max)


FALLING: Final[dict[str, tuple[Flow[int, Any], str]]] = {
    one.id: (one, code)
    for one, code in [
        (raising(Unspeakable, name="unspeakable"), "STAGE_ERROR"),
        (raising(Deadly, name="deadly"), "STAGE_ERROR"),
        (raising(Deadly, name="deadly-thread", is_async=False), "STAGE_ERROR"),
        (raising(Wrong, name="wrong"), "STAGE_ERROR"),
        (raising(Enormous, name="enormous"), "STAGE_ERROR"),
        (raising(lambda: Misnamed("x"), name="misnamed"), "STAGE_ERROR"),
        (raising(lambda: SystemExit(3), name="exit"), "STAGE_ERROR"),
        (raising(KeyboardInterrupt, name="interrupt"), "STAGE_ERROR"),
        (raising(GeneratorExit, name="generator-exit"), "STAGE_ERROR"),
        (raising(asyncio.CancelledError, name="cancelled"), "STAGE_ERROR"),
        (raising(lambda: StopIteration(1), name="stop-iteration"), "STAGE_ERROR"),
        (raising(MemoryError, name="memory"), "STAGE_ERROR"),
        (raising(KeyboardInterrupt, name="interrupt-thread", is_async=False), "STAGE_ERROR"),
        (raising(asyncio.CancelledError, name="cancelled-thread", is_async=False), "STAGE_ERROR"),
        (raising(lambda: BaseExceptionGroup("x", [SystemExit(1)]), name="exit-group"), "STAGE_ERROR"),
        (raising(lambda: ValueError("a\x00b\ud800"), name="nul"), "STAGE_ERROR"),
        (flow(endless), "STAGE_ERROR"),
        (flow(endless_thread), "STAGE_ERROR"),
        (flow(exits), "STAGE_ERROR"),
        (flow(cancels_itself), "STAGE_ERROR"),
        (flow(cancels_itself_by_another), "STAGE_ERROR"),
        (flow(cancels_itself_and_falls), "STAGE_ERROR"),
        (flow(chained), "STAGE_ERROR"),
        (flow(grouped), "STAGE_ERROR"),
        (flow(nests_loops), "STAGE_ERROR"),
        (flow(asks_for_ages, retry=Retry(3, base="1ms")), "STAGE_ERROR"),
        (flow(deep), "INVALID_OUTPUT"),
        (flow(coroutine), "INVALID_OUTPUT"),
        (flow(hostile), "INVALID_OUTPUT"),
        (flow(hostile_number), "INVALID_OUTPUT"),
        (flow(hostile_mapping), "INVALID_OUTPUT"),
        (flow(pends), "INVALID_OUTPUT"),
        (flow(blocks, timeout="100ms"), "TIMEOUT"),
        (flow(swallows, timeout="100ms"), "TIMEOUT"),
        (flow(overstays, timeout="100ms"), "TIMEOUT"),
    ]
}
