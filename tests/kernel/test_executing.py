"""What the inline executor lets through, and when it finds that a body took too long."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast.driving import run_sync
from holdfast.entities.definition import Body, Calling
from holdfast.executing import InlineExecutor
from holdfast.ports.executor import BodyCall, StageCrashed, StageTimeout
from holdfast_testing.clock import FakeClock

LIMIT: Final = timedelta(seconds=10)


class Pause:
    """An awaitable that suspends once and hands over what it is given."""

    def __await__(self) -> Generator[str, Any, Any]:
        given = yield "paused"
        return given


def run(
    function: Callable[..., Any], *, clock: FakeClock | None = None, timeout: timedelta | None = None
) -> Coroutine[Any, Any, Any]:
    calling = Calling.ASYNC if inspect.iscoroutinefunction(function) else Calling.SYNC
    body = Body(function=function, calling=calling, takes_input=False, takes_context=False, source="here:1")
    return InlineExecutor(clock or FakeClock()).run(BodyCall(body=body, arguments=(), timeout=timeout))


def test_async_body_is_driven_by_its_caller() -> None:
    """What an async body yields reaches whoever drives the executor, and what is sent reaches the body."""

    async def body() -> list[Any]:
        return [await Pause(), await Pause()]

    coroutine = run(body)
    assert coroutine.send(None) == "paused"
    assert coroutine.send("first") == "paused"
    with pytest.raises(StopIteration) as stop:
        coroutine.send("second")
    assert stop.value.value == ["first", "second"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), ValueError("mine")], ids=repr)
def test_what_is_thrown_in_comes_out_unchanged(error: BaseException) -> None:
    """An exception that the driver throws into a body is not the body's own, so it is no crash."""

    async def body() -> None:
        await Pause()

    coroutine = run(body)
    coroutine.send(None)
    with pytest.raises(type(error)) as caught:
        coroutine.throw(error)
    assert caught.value is error


def test_body_may_handle_what_is_thrown_in() -> None:
    """A body that handles an exception from outside goes on."""

    async def body() -> str:
        try:
            await Pause()
        except KeyboardInterrupt:
            return "handled"
        return "not interrupted"

    coroutine = run(body)
    coroutine.send(None)
    with pytest.raises(StopIteration) as stop:
        coroutine.throw(KeyboardInterrupt())
    assert stop.value.value == "handled"


def test_crash_in_answer_to_what_is_thrown_in_is_the_bodys_own() -> None:
    """A body that answers an exception from outside with a SystemExit has crashed."""

    async def body() -> None:
        try:
            await Pause()
        finally:
            raise SystemExit(3)

    coroutine = run(body)
    coroutine.send(None)
    with pytest.raises(StageCrashed, match="SystemExit: 3"):
        coroutine.throw(KeyboardInterrupt())


def test_closing_ends_the_body_in_peace() -> None:
    """A coroutine that is closed while its body waits runs the body's clean-up and raises nothing."""
    cleaned: list[str] = []

    async def body() -> None:
        try:
            await Pause()
        finally:
            cleaned.append("up")

    coroutine = run(body)
    coroutine.send(None)
    coroutine.close()
    assert cleaned == ["up"]


def test_cancelled_task_is_cancelled() -> None:
    """Under an event loop the cancellation of the task goes through the body and cancels the task."""

    async def body() -> None:
        await asyncio.sleep(60)

    async def main() -> bool:
        task = asyncio.create_task(run(body))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


@pytest.mark.parametrize(
    ("took", "is_late"), [(LIMIT, False), (LIMIT + timedelta(microseconds=1), True), (timedelta(), False)]
)
def test_body_is_late_when_it_took_longer_than_the_timeout(took: timedelta, is_late: bool) -> None:
    """A body may take exactly its timeout by the clock, and no more."""
    clock = FakeClock()

    def body() -> str:
        clock.advance(took)
        return "done"

    if is_late:
        with pytest.raises(StageTimeout):
            run_sync(run(body, clock=clock, timeout=LIMIT))
    else:
        assert run_sync(run(body, clock=clock, timeout=LIMIT)) == "done"


def test_late_body_that_raised_keeps_its_error() -> None:
    """Nobody interrupted the body, so what it raised says more than that it was late."""
    clock = FakeClock()

    async def body() -> None:
        await clock.sleep(2 * LIMIT)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_sync(run(body, clock=clock, timeout=LIMIT))


def test_any_awaitable_is_awaited() -> None:
    """An async body may return any awaitable, not only a coroutine."""

    def made() -> Awaitable[str]:
        class Ready:
            def __await__(self) -> Generator[None, None, str]:
                yield from ()
                return "done"

        return Ready()

    body = Body(function=made, calling=Calling.ASYNC, takes_input=False, takes_context=False, source="here:1")
    assert run_sync(InlineExecutor(FakeClock()).run(BodyCall(body=body, arguments=(), timeout=None))) == "done"
